"""Which tensor plays which role: the names of a checkpoint against the patterns of a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.page import name_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.shapes.page import Pattern

Indices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NameTable:
    """The tensors of a checkpoint under their digit-free names, so that a pattern finds its own at once."""

    by_key: Mapping[str, tuple[Tensor, ...]]
    size: int

    @staticmethod
    def of(tensors: Iterable[Tensor]) -> NameTable:
        keys: dict[str, list[Tensor]] = {}
        count = 0
        for tensor in tensors:
            keys.setdefault(name_key(tensor.name), []).append(tensor)
            count += 1
        return NameTable({key: tuple(found) for key, found in keys.items()}, count)


@dataclass(frozen=True, slots=True)
class Role:
    """A pattern and the tensors that fill it, by their indices."""

    pattern: Pattern
    tensors: Mapping[Indices, Tensor]


@dataclass(frozen=True, slots=True)
class Matching:
    """roles: one per pattern, in page order, empty ones included. unmatched: tensors that no pattern names."""

    roles: tuple[Role, ...]
    unmatched: tuple[Tensor, ...]


def match(patterns: Iterable[Pattern], table: NameTable) -> Matching:
    taken: set[str] = set()
    roles = []
    for pattern in patterns:
        regex = pattern.regex()
        found: dict[Indices, Tensor] = {}
        for tensor in table.by_key.get(pattern.key, ()):
            hit = regex.fullmatch(tensor.name)
            if hit and tensor.name not in taken:
                taken.add(tensor.name)
                found[tuple(map(int, hit.groups()))] = tensor
        roles.append(Role(pattern, found))
    unmatched = tuple(t for group in table.by_key.values() for t in group if t.name not in taken)
    return Matching(tuple(roles), unmatched)
