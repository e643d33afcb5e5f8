"""Puts list fields together again: equations are about `widths[3]` and `len(widths)`, a config has `widths`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.shapes.page.field_names import At, Length
from weightsmith.shapes.page.value import LONGEST_LIST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.value import Value

Options: TypeAlias = dict[str, tuple["Value", ...]]  # field -> every value that explains the weights


def assemble(values: dict[str, Value], options: Options, stated: Stated) -> None:
    """Adds every list field of which the equations found elements or the length to `values` and `options`.

    The list is certain when its length and each of its elements are.
    """
    parts = [name for name in values if isinstance(name, At | Length)]
    for owner in dict.fromkeys(name.owner for name in parts):
        if owner not in stated.page.fields or owner in values:
            continue
        places = {name.place: values[name] for name in parts if isinstance(name, At) and name.owner == owner}
        assumed = stated.assumed(owner, values)
        entries = _Entries(owner, places, assumed if isinstance(assumed, tuple) else ())
        length, measured = _length(entries, values, options, stated)
        if length > LONGEST_LIST:
            continue
        whole = tuple(entries.at(place) for place in range(length))
        certain = measured and all(len(options.get(At(owner, place), ())) == 1 for place in range(length))
        values[owner] = whole
        options[owner] = (whole,) if certain else ()


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
    entries: _Entries, values: Mapping[str, Value], options: Mapping[str, tuple[Value, ...]], stated: Stated
) -> tuple[int, bool]:
    """(the list's length, whether the weights force it)."""
    named = Length(entries.owner)
    measured = values.get(named)
    if isinstance(measured, int):
        return measured, len(options.get(named, ())) == 1
    declared = stated.page.lists.get(entries.owner)
    demanded = declared.at(values) if declared else None
    if declared is not None and demanded is not None:
        return demanded, all(len(options.get(field, ())) == 1 for field in declared.fields())
    return max([len(entries.assumed), *(place + 1 for place in entries.found)]), False
