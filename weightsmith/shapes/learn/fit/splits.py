"""Tests that tell the shapes of a role apart: which fields can decide, and on which rows a test holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from weightsmith.shapes.page.expression import parse_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.page.value import Value

Values = dict[str, "Value"]
# What a role was read with (fields and indices), and the shape that it had there.
ShapeRow = tuple[Values, tuple[int, ...]]
_Seen = TypeVar("_Seen")
# Counts and offsets decide about shapes; widths do not.
_SMALL = 16


def can_decide(name: str, rows: Sequence[tuple[Mapping[str, Value], object]]) -> bool:
    """Whether a field can decide about a shape: flags, words, absent numbers, small numbers, lists."""
    seen = [values.get(name) for values, _ in rows]
    if len({repr(v) for v in seen}) < 2:
        return False
    return None in seen or all(not isinstance(v, int | float) or abs(v) <= _SMALL for v in seen)


def split(
    test: str, rows: Sequence[tuple[Values, _Seen]]
) -> tuple[list[tuple[Values, _Seen]], list[tuple[Values, _Seen]]]:
    """The rows on which a test holds, and the others; none at all where it cannot be computed on one of them."""
    condition = parse_condition(test)
    yes: list[tuple[Values, _Seen]] = []
    no: list[tuple[Values, _Seen]] = []
    for row in rows:
        truth = condition.truth(row[0])
        if truth is None:
            return [], []
        (yes if truth else no).append(row)
    return yes, no


def may_hold(test: str, rows: Iterable[Mapping[str, Value]]) -> bool:
    """Whether a test could hold on any row; one that cannot be computed might."""
    condition = parse_condition(test)
    return any(condition.truth(values) is not False for values in rows)


def both_hold(a: str, b: str) -> str:
    """The condition that holds where both hold; an empty one always does."""
    return " and ".join(f"({part})" if " or " in part else part for part in (a, b) if part)
