"""Tests that tell the shapes of a role apart: which fields can decide, and on which rows a test holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightsmith.shapes.page.expression import parse_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.page.expression import Value

Shape = tuple[int, ...]
Values = dict[str, "Value"]
# Counts and offsets decide about shapes; widths do not.
_SMALL = 16


def is_gate(name: str, rows: Sequence[tuple[Mapping[str, Value], Any]]) -> bool:
    """Whether a field can decide about a shape: flags, words, absent numbers, small numbers, lists."""
    seen = [values.get(name) for values, _ in rows]
    if len({repr(v) for v in seen}) < 2:
        return False
    return None in seen or all(not isinstance(v, int | float) or abs(v) <= _SMALL for v in seen)


def split(
    test: str, rows: Sequence[tuple[Values, Shape]]
) -> tuple[list[tuple[Values, Shape]], list[tuple[Values, Shape]]]:
    condition = parse_condition(test)
    yes: list[tuple[Values, Shape]] = []
    no: list[tuple[Values, Shape]] = []
    for row in rows:
        truth = condition.truth(row[0])
        if truth is None:
            return [], []
        (yes if truth else no).append(row)
    return yes, no


def ever(test: str, rows: Iterable[Values]) -> bool:
    """Whether a test could hold on any row; one that cannot be computed might."""
    condition = parse_condition(test)
    return any(condition.truth(values) is not False for values in rows)


def both(a: str, b: str) -> str:
    return " and ".join(f"({part})" if " or " in part else part for part in (a, b) if part)
