"""Puts list fields together again: equations are about `widths[3]` and `len(widths)`, a config has `widths`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.page.field_names import At, Length
from weightsmith.shapes.page.value import LONGEST_LIST

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.value import Value


def assembled(values: Mapping[str, Value], forced: Set[str], stated: Stated) -> dict[str, tuple[Value, bool]]:
    """Every list field of which the equations found elements or the length: the whole list, and whether it is certain.

    It is where its length and each of its elements are. forced: the names that can have one value only.
    """
    parts = [name for name in values if isinstance(name, At | Length)]
    found: dict[str, tuple[Value, bool]] = {}
    for owner in dict.fromkeys(name.owner for name in parts):
        if owner not in stated.page.fields or owner in values:
            continue
        places = {name.place: values[name] for name in parts if isinstance(name, At) and name.owner == owner}
        known = {**values, **{name: whole for name, (whole, _) in found.items()}}
        assumed = stated.assumed(owner, known)
        entries = _Entries(owner, places, assumed if isinstance(assumed, tuple) else ())
        length, measured = _length(entries, known, forced, stated)
        if length <= LONGEST_LIST:
            certain = measured and all(At(owner, place) in forced for place in range(length))
            found[owner] = tuple(entries.at(place) for place in range(length)), certain
    return found


@dataclass(frozen=True, slots=True)
class _Entries:
    """What is known of one list. found: items that the equations gave. assumed: the list that a loader would take."""

    owner: str
    found: Mapping[int, Value]
    assumed: tuple[Value, ...]

    def at(self, place: int) -> Value:
        """The found item, else the assumed one; beyond both, the last of them is repeated."""
        if self.found.get(place) is not None:
            return self.found[place]
        if place < len(self.assumed):
            return self.assumed[place]
        if self.assumed:
            return self.assumed[-1]
        return self.found[max(self.found)] if self.found else None


def whole_lists(known: Mapping[str, Value]) -> dict[str, Value]:
    """Lists whose length and items are all known: conditions may read them then, wherever they ask."""
    found: dict[str, Value] = {}
    for name, length in known.items():
        if isinstance(name, Length) and isinstance(length, int) and length <= LONGEST_LIST:
            items = tuple(known.get(At(name.owner, place)) for place in range(length))
            if items and None not in items:
                found[name.owner] = items
    return found


def _length(
    entries: _Entries, values: Mapping[str, Value], forced: Set[str], stated: Stated
) -> tuple[int, bool]:
    """(the list's length, whether the weights force it)."""
    named = Length(entries.owner)
    measured = values.get(named)
    if isinstance(measured, int):
        return measured, named in forced
    declared = stated.page.lists.get(entries.owner)
    demanded = declared.at(values) if declared else None
    if declared is not None and demanded is not None:
        return demanded, declared.fields() <= forced
    return max([len(entries.assumed), *(place + 1 for place in entries.found)]), False
