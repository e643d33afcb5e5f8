"""A list of kinds of layers written in runs, as GPT-Neo has it: `[[["global", "local"], 12]]` is 24 layers.

The class spells it out and refuses another length than that of the layers; its default is that of its own model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from weightsmith.shapes.page.value import Value

# Kinds, and how often they follow each other.
_Run = tuple[Sequence[str], int]


def is_in_runs(items: object) -> TypeGuard[Sequence[_Run]]:
    """Whether a list is one of runs."""
    return isinstance(items, list | tuple) and len(items) > 0 and all(map(_is_run, items))


def spelled_length(items: Sequence[object]) -> int:
    """How many items a list stands for: its own, or those of its runs."""
    return sum(len(kinds) * count for kinds, count in items) if is_in_runs(items) else len(items)


def of_length(items: Value, length: int | None) -> Value:
    """A single run, so often that it stands for `length` items; None for all else, and where that cannot be."""
    if length is None or not is_in_runs(items) or len(items) != 1:
        return None
    kinds = tuple(items[0][0])
    count, left = divmod(length, len(kinds))
    return ((kinds, count),) if count > 0 and not left else None


def _is_run(item: object) -> bool:
    if not isinstance(item, list | tuple) or len(item) != 2:
        return False
    kinds, count = item
    named = (
        isinstance(kinds, list | tuple) and len(kinds) > 0 and all(isinstance(kind, str) for kind in kinds)
    )
    return named and type(count) is int and count > 0
