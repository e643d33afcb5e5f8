"""One role in every observation: where it is, in which shape, and where it could be and is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.equation import Unexpressed
from weightsmith.shapes.learn.fit.index_space import all_cells, innermost_does_not_matter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.learn.fit.check import ShapeRow, Values
    from weightsmith.shapes.learn.fit.index_space import Slots
    from weightsmith.shapes.learn.fit.sightings import RoleName, Shape, Sighting
    from weightsmith.shapes.page.predict import Indices


@dataclass(frozen=True, slots=True)
class RoleRows:
    """present: values with indices, and the shape there. distinct: of these, one per shape and observation.
    absent: values where the role could be and is not. where: per observation, the indices seen. cells: per
    observation, what is present at which indices."""

    present: list[ShapeRow]
    distinct: list[ShapeRow]
    absent: list[Values]
    where: list[frozenset[Indices]]
    cells: list[dict[Indices, ShapeRow]]

    @staticmethod
    def of(role: RoleName, slots: Slots, sightings: Sequence[Sighting], values: Sequence[Values]) -> RoleRows:
        """values: per sighting, the fields that equations may read. Raises Unexpressed beyond a count."""
        rows = RoleRows([], [], [], [], [])
        for sighting, own in zip(sightings, values, strict=True):
            rows._add(sighting.roles.get(role, {}), slots, own)
        return rows

    def _add(self, seen: Mapping[Indices, Shape], slots: Slots, own: Values) -> None:
        names = [name for name, _ in slots]
        cells = all_cells(slots, own)
        found = {cell: shape for cell in cells if (shape := seen.get(cell)) is not None}
        if len(found) < len(seen):
            raise Unexpressed("an index beyond its count")
        self.where.append(frozenset(seen))
        if names and innermost_does_not_matter(cells, found):
            cells = [cell for cell in cells if not cell[-1]]
        known: set[Shape] = set()
        self.cells.append({})
        for cell in cells:
            values = {**own, **dict(zip(names, cell, strict=True))} if names else own
            shape = found.get(cell)
            if shape is None:
                self.absent.append(values)
                continue
            self.present.append((values, shape))
            self.cells[-1][cell] = self.present[-1]
            if shape not in known:
                known.add(shape)
                self.distinct.append((values, shape))
