"""Where a role can be: the indices that its slots run over, and the list items that may decide about it there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Item, Polynomial
from weightsmith.shapes.page.field_names import At, Length

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.learn.fit.sightings import Shape
    from weightsmith.shapes.page.predict import Indices
    from weightsmith.shapes.page.value import Value

Slots = tuple[tuple[str, Polynomial], ...]


def all_cells(slots: Slots, values: Mapping[str, Value]) -> list[Indices]:
    """Every combination of indices that the slots run over."""
    found: list[Indices] = [()]
    for position, (_, count) in enumerate(slots):
        longer: list[Indices] = []
        outer_names = [name for name, _ in slots[:position]]
        nested = bool(count.fields() & set(outer_names))
        size = None if nested else count.at(values) or 0
        for outer in found:
            if nested:
                known = {**values, **dict(zip(outer_names, outer, strict=True))}
                size = count.at(known) or 0
            longer += [(*outer, i) for i in range(size or 0)]
        found = longer
    return found


def innermost_does_not_matter(cells: Sequence[Indices], found: Mapping[Indices, Shape]) -> bool:
    """Whether the innermost index makes no difference: all experts of a layer are there, and alike."""
    alike: dict[Indices, Shape | None] = {}
    return (
        len({len(cell) for cell in cells}) == 1
        and all(
            alike.setdefault(cell[:-1], found.get(cell)) == found.get(cell) for cell in cells if len(cell) > 1
        )
        and all(len(cell) > 1 for cell in cells)
    )


def any_size_differs(before: Mapping[Indices, int], after: Mapping[Indices, int]) -> bool:
    return any(before[at] != after[at] for at in before.keys() & after.keys())


def list_items(
    moved: Sequence[str], rows: Sequence[tuple[Mapping[str, Value], object]], outer: Iterable[str]
) -> list[Item | str]:
    """`widths[layer]`, `depths[0]` and `len(depths)` for every list that moves the number."""
    items: list[Item | str] = []
    outer = list(outer)
    for name in moved:
        # The rows of one observation share their lists.
        own = {id(value): value for values, _ in rows if (value := values.get(name)) is not None}
        lists = [value for value in own.values() if isinstance(value, tuple)]
        if len(lists) < len(own) or any(values.get(name) is None for values, _ in rows):
            continue
        items += [Item(name, Polynomial.of({(slot,): 1})) for slot in outer]
        items.append(Length(name))
        items += [At(name, i) for i in range(min(min(map(len, lists), default=0), 6))]
        if all(isinstance(item, int) for sizes in lists for item in sizes):
            items += _from_the_end(name, outer)
    return items


def _from_the_end(name: str, outer: Iterable[str]) -> Iterator[Item]:
    """The last size, the one before a slot's own, and both for a slot that counts down, as decoders do."""
    one, length = Polynomial.constant(1), Polynomial.of({(Length(name),): 1})
    yield Item(name, length.plus(one, -1))
    for slot in outer:
        at = Polynomial.of({(slot,): 1})
        yield Item(name, at.plus(one, -1))
        yield Item(name, length.plus(one, -1).plus(at, -1))
        yield Item(name, length.plus(at, -1))


def plain_field(count: Polynomial) -> str | None:
    match count.terms:
        case (((str(name),), 1),):
            return name
    return None
