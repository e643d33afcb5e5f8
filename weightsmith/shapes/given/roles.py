"""Which tensor plays which role: the names of a checkpoint against the patterns of a page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.shapes.page.pattern import DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.shapes.page.pattern import TensorPattern
    from weightsmith.shapes.page.spellings import Spelling

Indices: TypeAlias = tuple[int, ...]
# A whole checkpoint has more tensors than any index in it says. Of one that lacks most of its tensors, an index may be
# larger than their number, though no model has so many layers or experts as this.
MOST_INDICES = 1_024
# No checkpoint has as many tensors as a number of more digits says.
_MOST_DIGITS = 9
_RUNS = re.compile(f"({DIGITS.pattern})")


@dataclass(frozen=True, slots=True)
class NameTable:
    """The tensors of a checkpoint under their digit-free names, each with the digit runs that were in it."""

    by_key: Mapping[str, Mapping[tuple[str, ...], Tensor]]
    size: int

    @staticmethod
    def of(tensors: Iterable[Tensor]) -> NameTable:
        """The tensors under the names that they are stored under."""
        return NameTable.under((tensor.name, tensor) for tensor in tensors)

    @staticmethod
    def under(named: Iterable[tuple[str, Tensor]]) -> NameTable:
        """The tensors under other names than those on disk."""
        keys: dict[str, dict[tuple[str, ...], Tensor]] = {}
        count = 0
        for name, tensor in named:
            pieces = _RUNS.split(name)
            keys.setdefault("#".join(pieces[::2]), {})[tuple(pieces[1::2])] = tensor
            count += 1
        return NameTable(keys, count)

    def read(self, spelling: Spelling) -> NameTable:
        """The same tensors under the names that the page has for them."""
        keys: dict[str, dict[tuple[str, ...], Tensor]] = {}
        for key, tensors in self.by_key.items():
            keys.setdefault(spelling.read(key), {}).update(tensors)
        return NameTable(keys, self.size)


@dataclass(frozen=True)
class Role:
    """A pattern and the tensors that fill it, by their indices."""

    pattern: TensorPattern
    tensors: Mapping[Indices, Tensor]

    @cached_property
    def shapes(self) -> Mapping[tuple[int, ...], tuple[int, str]]:
        """Shape → how many tensors have it, and the first of them."""
        found: dict[tuple[int, ...], tuple[int, str]] = {}
        for tensor in self.tensors.values():
            count, first = found.get(tensor.shape, (0, tensor.name))
            found[tensor.shape] = count + 1, first
        return found

    @cached_property
    def deciding(self) -> tuple[int, ...]:
        """The places of the slots whose indices existence or shape depend on."""
        return self.pattern.deciding

    @cached_property
    def by_deciding(self) -> Mapping[Indices, tuple[int, set[tuple[int, ...]]]]:
        """By the indices that existence or shape depend on: how many tensors there are, and their shapes."""
        groups: dict[Indices, list[tuple[int, ...]]] = {}
        for indices, tensor in self.tensors.items():
            groups.setdefault(tuple(indices[place] for place in self.deciding), []).append(tensor.shape)
        return {key: (len(shapes), set(shapes)) for key, shapes in groups.items()}

    @cached_property
    def tops(self) -> tuple[int, ...]:
        """The largest index seen in each slot; -1 where there is none."""
        if not self.tensors:
            return (-1,) * len(self.pattern.slots)
        return tuple(map(max, zip(*self.tensors, strict=True))) if self.pattern.slots else ()


@dataclass(frozen=True, slots=True)
class Matching:
    """roles: one per pattern, in page order, empty ones included. unmatched: tensors that no pattern names."""

    roles: tuple[Role, ...]
    unmatched: tuple[Tensor, ...]


def match(patterns: Iterable[TensorPattern], table: NameTable) -> Matching:
    """Every tensor goes to the first pattern that names it.

    An index that no model with so many tensors has names nothing: nobody could tell what is missing below it.
    """
    bound = max(MOST_INDICES, table.size)
    left: dict[str, dict[tuple[str, ...], Tensor]] = {}
    roles = []
    for pattern in patterns:
        key = pattern.key
        if key not in left:
            left[key] = dict(table.by_key.get(key, {}))
        found: dict[Indices, Tensor] = {}
        if left[key]:
            literal, places = _digit_runs(pattern)
            for numbers in list(left[key]):
                indices = _indices(numbers, literal, places, bound)
                if indices is not None:
                    found[indices] = left[key].pop(numbers)
        roles.append(Role(pattern, found))
    rest = [t for key in table.by_key if key not in left for t in table.by_key[key].values()]
    rest += [t for group in left.values() for t in group.values()]
    return Matching(tuple(roles), tuple(rest))


def _digit_runs(pattern: TensorPattern) -> tuple[tuple[tuple[int, str], ...], tuple[int, ...]]:
    """(digit runs of the pattern's own text with their places, places of its slots) in its tensors' names."""
    literal: list[tuple[int, str]] = []
    places: list[int] = []
    position = 0
    for number, text in enumerate(pattern.literals):
        if number:
            places.append(position)
            position += 1
        for run in DIGITS.findall(text):
            literal.append((position, run))
            position += 1
    return tuple(literal), tuple(places)


def _indices(
    numbers: tuple[str, ...], literal: tuple[tuple[int, str], ...], places: tuple[int, ...], bound: int
) -> Indices | None:
    """The slots' values below `bound`; None when the pattern's own digits differ or an index has a leading zero."""
    for place, run in literal:
        if numbers[place] != run:
            return None
    indices = []
    for place in places:
        run = numbers[place]
        if (run[0] == "0" and run != "0") or len(run) > _MOST_DIGITS:
            return None
        index = int(run)
        if index >= bound:
            return None
        indices.append(index)
    return tuple(indices)
