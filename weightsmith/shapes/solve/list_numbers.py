"""Numbers of which a class makes a list (`full_attention_interval`), where a file states them instead of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import parse_condition
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.solve.budget import BUDGET
from weightsmith.shapes.solve.relation import Relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.solution import Solution


def with_list_numbers(solution: Solution, stated: Stated) -> Solution:
    """Gives such a number the value that makes the list that the weights have, if there is one.

    The list is then as the class makes it, and need not be put beside the number.
    """
    for field, items in _lists_made_otherwise(solution.values, stated):
        default = stated.page.fields[field]
        for name in sorted(parse_condition(default.expression or "").names):
            if name in solution.decided or not stated.has(name) or not is_number(solution.values.get(name)):
                continue
            trials = range(min(len(items) + 2, BUDGET.list_numbers))
            fitting = [n for n in trials if default.default({**solution.values, name: n}) == items]
            if fitting:
                solution = solution.deciding(Relation.column("lists", name, fitting))
                break
    return solution


def _lists_made_otherwise(
    values: Mapping[str, Value], stated: Stated
) -> Iterator[tuple[str, tuple[Value, ...]]]:
    """Each list that the file leaves to the class, and that the class makes otherwise than the weights are."""
    for field, own in stated.page.fields.items():
        items = values.get(field)
        left_out = own.expression is not None and not stated.has(field)
        if left_out and isinstance(items, tuple) and own.default(values) != items:
            yield field, items
