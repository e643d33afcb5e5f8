"""Names become roles: which digits in a name are indices, what counts them, and where each role was seen."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.names import slot_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.learn.probe.probe import BuildObservation
    from weightsmith.shapes.page.predict import Indices
    from weightsmith.shapes.reference.meta_models import Shapes

Shape = tuple[int, ...]
_PIECES = re.compile(r"[0-9]+|[^0-9]+")


@dataclass(frozen=True, slots=True)
class RoleName:
    """`literals` around the slots: ("model.layers.", ".mlp.up_proj.weight") has one. `containers`: what stands
    before each slot, outer slots as `#`."""

    literals: tuple[str, ...]

    @property
    def containers(self) -> tuple[str, ...]:
        return tuple("#".join(self.literals[: i + 1]) for i in range(len(self.literals) - 1))

    def __str__(self) -> str:
        return "#".join(self.literals)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One table, sorted by role: which indices each has and what shape it has there; how far containers run."""

    observation: BuildObservation
    roles: Mapping[RoleName, Mapping[Indices, Shape]]
    sizes: Mapping[str, Mapping[Indices, int]]


@dataclass(slots=True)
class RoleParser:
    """Decides once, from single changes of counts, which digits are indices; then reads any table."""

    slotted: set[str] = field(default_factory=set)
    _parsed: dict[str, tuple[RoleName, Indices]] = field(default_factory=dict)

    @staticmethod
    def learned(observations: Sequence[BuildObservation], architecture: str) -> RoleParser:
        roles = RoleParser()
        for _ in range(4):  # an index may hide behind another one
            found = roles._varying(observations, architecture)
            if found <= roles.slotted:
                break
            roles.slotted |= found
            roles._parsed.clear()
        return roles

    def _varying(self, observations: Iterable[BuildObservation], architecture: str) -> set[str]:
        sets: dict[int, dict[str, frozenset[int]]] = {}

        def indices(observation: BuildObservation) -> dict[str, frozenset[int]]:
            if id(observation) not in sets:
                sets[id(observation)] = self._index_sets(observation.tables[architecture])
            return sets[id(observation)]

        varying = set()
        for observation in observations:
            if observation.origin is None or not observation.changed:
                continue
            values = [observation.values.get(name) for name in observation.changed]
            if any(isinstance(value, str | bool | float) or value is None for value in values):
                continue
            before, after = indices(observation.origin), indices(observation)
            for prefix in before.keys() & after.keys():
                if before[prefix] != after[prefix] and (0 in before[prefix] or 0 in after[prefix]):
                    varying.add(prefix)
        return varying

    def _index_sets(self, table: Shapes) -> dict[str, frozenset[int]]:
        found: dict[str, set[int]] = {}
        for name in table:
            for prefix, number in self._digits(name):
                found.setdefault(prefix, set()).add(number)
        return {prefix: frozenset(numbers) for prefix, numbers in found.items()}

    def _digits(self, name: str) -> Iterator[tuple[str, int]]:
        """(what stands before a run of digits, known indices as `#`; the number)."""
        prefix = ""
        for piece in _PIECES.findall(name):
            if piece.isdigit():
                yield prefix, int(piece)
                prefix += "#" if prefix in self.slotted else piece
            else:
                prefix += piece

    def parse(self, name: str) -> tuple[RoleName, Indices]:
        if name not in self._parsed:
            literals, indices, prefix = [""], [], ""
            for piece in _PIECES.findall(name):
                if piece.isdigit() and prefix in self.slotted:
                    indices.append(int(piece))
                    literals.append("")
                    prefix += "#"
                else:
                    literals[-1] += piece
                    prefix += piece
            self._parsed[name] = RoleName(tuple(literals)), tuple(indices)
        return self._parsed[name]

    def sight(self, observation: BuildObservation, architecture: str) -> Sighting:
        roles: dict[RoleName, dict[Indices, Shape]] = {}
        sizes: dict[str, dict[Indices, int]] = {}
        for name, shape in observation.tables[architecture].items():
            role, indices = self.parse(name)
            roles.setdefault(role, {})[indices] = shape
            for depth, container in enumerate(role.containers):
                inner = sizes.setdefault(container, {})
                outer = indices[:depth]
                inner[outer] = max(inner.get(outer, 0), indices[depth] + 1)
        return Sighting(observation, roles, sizes)


def slot_names(role: RoleName) -> tuple[str, ...]:
    """A word for each index, from what stands before it: `layers.#` → layer."""
    names: list[str] = []
    for literal in role.literals[:-1]:
        name = slot_word(re.findall(r"[A-Za-z_]+", literal))
        while name in names:
            name += "_"
        names.append(name)
    return tuple(names)
