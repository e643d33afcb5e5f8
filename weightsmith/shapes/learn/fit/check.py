"""The one check of what was found: equations and tests are put to rows, and hold there or do not.

A row is what was seen once: the values of fields and indices, and beside them a number or a shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from weightsmith.shapes.page.expression import parse_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.learn.fit.equation import ShapeVariant
    from weightsmith.shapes.page.expression import Polynomial
    from weightsmith.shapes.page.value import Value

Values = dict[str, "Value"]
# What a role was read with (fields and indices), and the shape that it had there.
ShapeRow = tuple[Values, tuple[int, ...]]
_Seen = TypeVar("_Seen")


def number_of(term: Polynomial, values: Mapping[str, Value]) -> int | None:
    """None where the values do not determine it, or Python could not compute it with them."""
    try:
        return term.at(values)
    except (TypeError, ZeroDivisionError, IndexError):
        return None


def equals(term: Polynomial, rows: Iterable[tuple[Mapping[str, Value], int]]) -> bool:
    """Whether it gives every row's number."""
    return all(number_of(term, values) == number for values, number in rows)


def shape_of(variants: Iterable[ShapeVariant], values: Mapping[str, Value]) -> tuple[int | None, ...] | None:
    """The shape of the first variant whose condition holds, or may hold; None when there is none."""
    for axes, test in variants:
        if not test or parse_condition(test).truth(values) is not False:
            return tuple(number_of(axis, values) for axis in axes)
    return None


def gives(
    variants: Sequence[ShapeVariant], rows: Iterable[tuple[Mapping[str, Value], tuple[int, ...]]]
) -> bool:
    """Whether they give every row's shape."""
    return all(shape_of(variants, values) == shape for values, shape in rows)


def always_holds(test: str, rows: Iterable[Mapping[str, Value]]) -> bool:
    """Whether a test holds on every row; where one does not decide it, it does not."""
    condition = parse_condition(test)
    return all(condition.truth(values) for values in rows)


def may_hold(test: str, rows: Iterable[Mapping[str, Value]]) -> bool:
    """Whether a test could hold on any row; one that cannot be computed might."""
    condition = parse_condition(test)
    return any(condition.truth(values) is not False for values in rows)


def mask_of(text: str, rows: Iterable[Mapping[str, Value]]) -> int | None:
    """The rows on which a test holds, as the bits of a number; None where it cannot be computed on one of them."""
    condition = parse_condition(text)
    bits = []
    for values in rows:
        truth = condition.truth(values)
        if truth is None:
            return None
        bits.append("1" if truth else "0")
    return int("".join(reversed(bits)) or "0", 2)


def parted(mask: int, rows: Sequence[_Seen]) -> tuple[list[_Seen], list[_Seen]]:
    """The rows on which a test of this mask holds, and the others."""
    bits = f"{mask:0{len(rows)}b}"[::-1][: len(rows)]
    told = list(zip(rows, bits, strict=True))
    return [row for row, bit in told if bit == "1"], [row for row, bit in told if bit == "0"]


def split(
    test: str, rows: Sequence[tuple[Values, _Seen]]
) -> tuple[list[tuple[Values, _Seen]], list[tuple[Values, _Seen]]]:
    """The rows on which a test holds, and the others; none at all where it cannot be computed on one of them."""
    mask = mask_of(test, (values for values, _ in rows))
    return ([], []) if mask is None else parted(mask, rows)
