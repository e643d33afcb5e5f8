"""From the sightings of one role to its equation: how far its indices run, its shape, and when it exists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.changes import Changes
from weightsmith.shapes.learn.fit.check import gives
from weightsmith.shapes.learn.fit.conditions import learn_condition
from weightsmith.shapes.learn.fit.equation import Equation, TooRare, Uncounted, Unexpressed
from weightsmith.shapes.learn.fit.index_space import Slots, all_cells, plain_field
from weightsmith.shapes.learn.fit.role_rows import RoleRows
from weightsmith.shapes.learn.fit.shape_fit import ShapeFitter
from weightsmith.shapes.learn.fit.sightings import slot_names
from weightsmith.shapes.learn.fit.variants import VariantSearch, both_hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.learn.fit.equation import ShapeVariant
    from weightsmith.shapes.learn.fit.sightings import RoleName, Sighting
    from weightsmith.shapes.page.expression import Polynomial
    from weightsmith.shapes.page.predict import Indices

# Most roles are found within ten fits, hard ones within a few hundred, and a search in vain takes about a thousand, or
# three seconds. No search may go on for ever.
_ROLE_FITS = 10_000
# Of a role that some configs have and others lack, so many must have it.
_MIN_SEEN = 3


@dataclass(slots=True)
class RoleFitter:
    """Fits the roles of one model class; equal questions are answered once."""

    sightings: Sequence[Sighting]
    structural: Sequence[str]
    changes: Changes
    _shapes: ShapeFitter = field(default_factory=ShapeFitter)
    _counts: dict[str, Polynomial | None] = field(default_factory=dict)
    _presence: dict[tuple[Slots, tuple[frozenset[Indices], ...]], str | None] = field(default_factory=dict)
    _equations: dict[str, Equation] = field(default_factory=dict)

    @staticmethod
    def of(
        sightings: Sequence[Sighting],
        fields: Sequence[str],
        structural: Sequence[str],
        nulls: Mapping[str, Polynomial],
    ) -> RoleFitter:
        """fields: all that tensors depend on. structural: those that decide which tensors exist. nulls: what stands
        for null in a field."""
        return RoleFitter(sightings, structural, Changes.of(sightings, fields, structural, nulls))

    def equation(self, role: RoleName) -> Equation:
        """Raises Unexpressed."""
        self._shapes.left = _ROLE_FITS
        slots = self._slots(role)
        rows = RoleRows.of(role, slots, self.sightings, self.changes.values)
        condition = self._condition(rows, slots)
        if condition is None:
            raise Unexpressed("no condition found for its existence")
        variants = self._variants(role, slots, rows, condition)
        if variants is None:
            names = sorted(set().union(*self.changes.moved_axes(role).values(), ()))
            raise Unexpressed(
                f"no equation found for its shape, moved by {', '.join(names) or 'nothing seen'}"
            )
        found = Equation(role, slots, tuple(variants))
        self.adopt(found)
        return found

    def adopt(self, equation: Equation) -> None:
        """Takes an equation that was found before for one of this fitter's own."""
        self._equations[str(equation.role)] = equation

    def holds(self, equation: Equation, places: Iterable[int]) -> bool:
        """Whether it gives exactly the role's tensors in the sightings at these places."""
        names = [name for name, _ in equation.slots]
        for place in places:
            own, seen = self.changes.values[place], self.sightings[place].roles.get(equation.role, {})
            given = {}
            for cell in all_cells(equation.slots, own):
                shape = equation.shape({**own, **dict(zip(names, cell, strict=True))})
                if shape is not None:
                    given[cell] = shape
            if given != seen:
                return False
        return True

    def _variants(
        self, role: RoleName, slots: Slots, rows: RoleRows, condition: str
    ) -> list[ShapeVariant] | None:
        moved = self.changes.moved_axes(role)
        movers = sorted(set().union(*moved.values(), ()))
        # What makes tensors come and go may decide a shape, too, where a shape depends on the index.
        uneven = len(rows.distinct) > sum(map(bool, rows.where))
        outer = [name for name, _ in slots]
        deciding = list(dict.fromkeys([*movers, *((*self.structural, *outer) if uneven else ())]))
        search = VariantSearch(
            self._shapes, rows, slots, condition, deciding, self.structural, moved, self.changes.families
        )
        listed = any(
            isinstance(values.get(name), tuple) for name in movers for values in self.changes.values[:1]
        )
        single = None if listed else search.shape(rows.distinct, hard=False)
        variants = self._as_its_weight(role, rows, condition)
        if variants is not None:
            return variants
        return [(single, condition)] if single is not None else search.find()

    def _weight_of(self, role: RoleName) -> Equation | None:
        return self._equations.get(str(role).removesuffix(".bias") + ".weight")

    def _as_its_weight(self, role: RoleName, rows: RoleRows, condition: str) -> list[ShapeVariant] | None:
        """A bias has its weight's first axis under its weight's tests, where that explains every row."""
        weight = self._weight_of(role)
        if weight is None or not str(role).endswith(".bias") or len(weight.variants) < 2:
            return None
        variants: list[ShapeVariant] = [
            ((axes[0],), both_hold(condition, test)) for axes, test in weight.variants
        ]
        return variants if gives(variants, rows.present) else None

    def _slots(self, role: RoleName) -> Slots:
        names = slot_names(role)
        slots = []
        for depth, container in enumerate(role.containers):
            count = self._count(container, names[:depth])
            if count is None:
                raise Uncounted(container)
            slots.append((names[depth], count))
        return tuple(slots)

    def _count(self, container: str, outer: Sequence[str]) -> Polynomial | None:
        if container not in self._counts:
            rows = [
                ({**values, **dict(zip(outer, at, strict=True))}, size)
                for s, values in zip(self.sightings, self.changes.values, strict=True)
                for at, size in s.sizes.get(container, {}).items()
            ]
            moved = self.changes.moved_count(container)
            fitted = self._shapes.number(rows, moved, outer, hard=False)
            self._counts[container] = fitted or self._shapes.number(rows, moved, outer, hard=True)
        return self._counts[container]

    def _condition(self, rows_of: RoleRows, slots: Slots) -> str | None:
        if not rows_of.absent:
            return ""
        if sum(map(bool, rows_of.where)) < _MIN_SEEN:
            raise TooRare("seen too rarely to say when it exists")
        key = (slots, tuple(rows_of.where))
        if key not in self._presence:
            rows = [(values, True) for values, _ in rows_of.present] + [(v, False) for v in rows_of.absent]
            counted = {name: plain_field(count) for name, count in slots}
            known = dict.fromkeys(text for text in self._presence.values() if text)
            self._presence[key] = learn_condition(rows, self.structural, counted, known)
        return self._presence[key]
