"""Puts list fields together again: equations speak of `widths[3]` and `len(widths)`, a config of `widths`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.given.config import owner_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.expression import Value

Options = dict[str, tuple["Value", ...]]


def assemble(values: dict[str, Value], options: Options, stated: Stated) -> None:
    """Adds every list field of which the equations found elements or the length to `values` and `options`.

    The list is certain when its length and each of its elements are.
    """
    parts = [name for name in values if name.endswith("]") or name.startswith("len(")]
    for owner in dict.fromkeys(owner_of(name) for name in parts):
        if owner not in stated.page.fields or owner in values:
            continue
        own = {name for name in parts if owner_of(name) == owner}
        places = {int(name[:-1].rpartition("[")[2]): name for name in own if name.endswith("]")}
        assumed = stated.assumed(owner, values)
        known = list(assumed) if isinstance(assumed, list | tuple) else []
        length, measured = _length(owner, places, known, values, options, stated)
        found = [_element(place, places, known, values) for place in range(length)]
        values[owner] = tuple(found)
        certain = measured and all(
            place in places and len(options.get(places[place], ())) == 1 for place in range(length)
        )
        options[owner] = (tuple(found),) if certain else ()


def whole_lists(known: Mapping[str, Value]) -> dict[str, Value]:
    """Lists whose length and items are all known: tests may read them then, wherever they ask."""
    found: dict[str, Value] = {}
    for name, length in known.items():
        owner = name.removeprefix("len(").removesuffix(")")
        items = [known.get(f"{owner}[{place}]") for place in range(length)] if owner != name else []
        if items and None not in items:
            found[owner] = tuple(items)
    return found


def _length(
    owner: str,
    places: Mapping[int, str],
    known: list[Value],
    values: Mapping[str, Value],
    options: Mapping[str, tuple[Value, ...]],
    stated: Stated,
) -> tuple[int, bool]:
    """(the list's length, whether the weights force it)."""
    named = f"len({owner})"
    if named in values:
        return values[named], len(options.get(named, ())) == 1
    declared = stated.page.lists.get(owner)
    demanded = declared.substitute(values).known() if declared else None
    if declared is not None and demanded is not None:
        return demanded, all(len(options.get(field, ())) == 1 for field in declared.fields())
    return max([len(known), *(place + 1 for place in places)]), False


def _element(place: int, places: Mapping[int, str], known: list[Value], values: Mapping[str, Value]) -> Value:
    if place in places and values.get(places[place]) is not None:
        return values[places[place]]
    if place < len(known):
        return known[place]
    return known[-1] if known else values.get(places[max(places)]) if places else None
