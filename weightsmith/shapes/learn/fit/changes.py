"""What single changes of a config moved: which axes of a role, and which counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.index_space import any_size_differs
from weightsmith.shapes.page.value import is_number, is_number_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.shapes.learn.fit.check import Values
    from weightsmith.shapes.learn.fit.sightings import RoleName, Sighting
    from weightsmith.shapes.page.expression import Polynomial
    from weightsmith.shapes.page.value import Value


@dataclass(frozen=True, slots=True)
class Changes:
    """values: per sighting, the fields that equations may read. pairs: (field, before, after) where that field was
    changed. families: the place of each origin among the sightings, then those of its children in which nothing but
    sizes was changed."""

    values: Sequence[Values]
    pairs: Sequence[tuple[str, Sighting, Sighting]]
    families: Sequence[Sequence[int]]

    @staticmethod
    def of(
        sightings: Sequence[Sighting],
        fields: Sequence[str],
        structural: Sequence[str],
        nulls: Mapping[str, Polynomial],
    ) -> Changes:
        """structural: fields that decide which tensors exist. nulls: what stands for null in a field."""
        values = [_readable(s.observation.values, fields, nulls) for s in sightings]
        return Changes(values, list(_pairs(sightings)), _families(sightings, structural))

    def moved_axes(self, role: RoleName) -> dict[int, set[str]]:
        """Per axis, the fields that moved it when they alone were changed (in a list: the whole list)."""
        moved: dict[int, set[str]] = {}
        for changed, before, after in self.pairs:
            old, new = before.roles.get(role, {}), after.roles.get(role, {})
            for at in old.keys() & new.keys():
                if old[at] != new[at]:
                    longest = max(len(old[at]), len(new[at]))
                    alike = len(old[at]) == len(new[at])
                    for axis in range(longest):
                        if not alike or old[at][axis] != new[at][axis]:
                            moved.setdefault(axis, set()).add(changed)
        return moved

    def moved_count(self, container: str) -> list[str]:
        """The fields whose change moved how many there are of a container."""
        return list(
            dict.fromkeys(
                changed
                for changed, before, after in self.pairs
                if any_size_differs(before.sizes.get(container, {}), after.sizes.get(container, {}))
            )
        )

    def movers(self, role: RoleName) -> frozenset[str]:
        """Every field that alone was seen to change a shape of the role, or how far its indices run."""
        counted = (name for container in role.containers for name in self.moved_count(container))
        return frozenset().union(*self.moved_axes(role).values(), counted)


def _readable(
    values: Mapping[str, Value], fields: Sequence[str], nulls: Mapping[str, Polynomial]
) -> dict[str, Value]:
    own = {name: values[name] for name in fields if name in values}
    for name, rule in nulls.items():
        if own.get(name) is None:
            own[name] = rule.at(own)
    return own


def _pairs(sightings: Sequence[Sighting]) -> Iterator[tuple[str, Sighting, Sighting]]:
    """Each sighting beside its origin, and beside the sibling before it in which the same fields were changed."""
    by_id = {id(s.observation): s for s in sightings}
    siblings: dict[tuple[int, tuple[str, ...]], Sighting] = {}
    for s in sightings:
        origin, changed = by_id.get(id(s.observation.origin)), s.observation.changed
        if origin is None or not changed:
            continue
        yield from ((name, origin, s) for name in changed)
        sibling = siblings.get((id(origin), changed))
        if sibling is not None:
            yield from ((name, sibling, s) for name in changed)
        siblings[id(origin), changed] = s


def _families(sightings: Sequence[Sighting], structural: Sequence[str]) -> list[list[int]]:
    place = {id(s.observation): i for i, s in enumerate(sightings)}
    found: dict[int, list[int]] = {}
    for number, s in enumerate(sightings):
        at, changed, values = place.get(id(s.observation.origin)), s.observation.changed, s.observation.values
        if at is None or not changed:
            continue
        if all(_is_size(values.get(name)) and name not in structural for name in changed):
            found.setdefault(at, [at]).append(number)
    return list(found.values())


def _is_size(value: Value) -> bool:
    return is_number(value) or is_number_list(value)
