"""Numbers of which a class makes a list (`full_attention_interval`), where a file states them instead of the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import parse_condition
from weightsmith.shapes.page.value import is_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.given.list_entries import Options
    from weightsmith.shapes.page.value import Value


# Every number that is tried makes a whole list.
_LARGEST = 512


def settle_list_numbers(
    values: dict[str, Value], options: Options, cheapest: Options, stated: Stated
) -> None:
    """Gives such a number the value that makes the list that the weights have, if there is one.

    The list is then as the class makes it, and need not be put beside the number.

    values, options, cheapest: of every field, as in `branches.Solution`; they are changed in place.
    """
    for field, items in _lists_made_otherwise(values, stated):
        default = stated.page.fields[field]
        for name in sorted(parse_condition(default.expression or "").names):
            if name in options or not stated.has(name) or not is_number(values.get(name)):
                continue
            trials = range(min(len(items) + 2, _LARGEST))
            fitting = tuple(n for n in trials if default.default({**values, name: n}) == items)
            if fitting:
                values[name] = fitting[0]
                options[name], cheapest[name] = fitting, fitting
                break


def _lists_made_otherwise(
    values: dict[str, Value], stated: Stated
) -> Iterator[tuple[str, tuple[Value, ...]]]:
    """Each list that the file leaves to the class, and that the class makes otherwise than the weights are."""
    for field, own in stated.page.fields.items():
        items = values.get(field)
        left_out = own.expression is not None and not stated.has(field)
        if left_out and isinstance(items, tuple) and own.default(values) != items:
            yield field, items
