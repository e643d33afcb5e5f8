"""The shapes of a role that no single equation gives: several equations, told apart by conditions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.check import may_hold, parted
from weightsmith.shapes.learn.fit.conditions import learn_condition
from weightsmith.shapes.learn.fit.index_space import plain_field
from weightsmith.shapes.learn.fit.piecewise import in_pieces, moved_within, seeds
from weightsmith.shapes.learn.fit.tests import candidate_tests, distinct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.learn.fit.check import ShapeRow
    from weightsmith.shapes.learn.fit.conditions import Row
    from weightsmith.shapes.learn.fit.equation import Axes, ShapeVariant
    from weightsmith.shapes.learn.fit.index_space import Slots
    from weightsmith.shapes.learn.fit.role_rows import RoleRows
    from weightsmith.shapes.learn.fit.shape_fit import ShapeFitter

# Counts and offsets decide about shapes; widths do not.
_SMALL = 16
_MAX_DEPTH = 2
_MAX_TESTS = 80
_MAX_HARD_TESTS = 12


def both_hold(a: str, b: str) -> str:
    """The condition that holds where both hold; an empty one always does."""
    return " and ".join(f"({part})" if " or " in part else part for part in (a, b) if part)


def _can_decide(name: str, rows: Sequence[ShapeRow]) -> bool:
    """Whether a field can decide about a shape: flags, words, absent numbers, small numbers, lists."""
    seen = [values.get(name) for values, _ in rows]
    if len({repr(v) for v in seen}) < 2:
        return False
    return None in seen or all(not isinstance(v, int | float) or abs(v) <= _SMALL for v in seen)


@dataclass(frozen=True, slots=True)
class VariantSearch:
    """One search for the shapes of one role.

    condition: when the role exists, "" for always. deciding: fields that may decide about the shape. structural:
    fields that decide which tensors exist. moved: per axis, the fields that move it. families: origins and their
    children among the observations.
    """

    fitter: ShapeFitter
    rows: RoleRows
    slots: Slots
    condition: str
    deciding: Sequence[str]
    structural: Sequence[str]
    moved: Mapping[int, set[str]]
    families: Sequence[Sequence[int]]

    def find(self) -> list[ShapeVariant] | None:
        """One shape; or two or three, told apart by a test; multilinear ones before floors and limits."""
        rows = self.rows.present
        single = self.shape(rows, hard=False)
        if single is not None:
            return [(single, self.condition)]
        told_apart = self._gated(rows, self.deciding, _MAX_DEPTH, hard=False) or self._pieced()
        if told_apart is not None:
            return told_apart
        nullable = [f for f in self.deciding if any(values.get(f) is None for values, _ in rows)]
        gated = self._gated(rows, nullable, 1, hard=True)
        if gated is not None:
            return gated
        single = self.shape(rows, hard=True)
        if single is not None:
            return [(single, self.condition)]
        return self._gated(rows, self.deciding, 1, hard=True)

    def shape(self, rows: Sequence[ShapeRow], hard: bool) -> Axes | None:
        return self.fitter.shape(rows, self.moved, self._outer, hard)

    @property
    def _outer(self) -> list[str]:
        return [name for name, _ in self.slots]

    @property
    def _counted(self) -> dict[str, str | None]:
        return {name: plain_field(count) for name, count in self.slots}

    def _narrowed(self, test: str) -> str:
        """The test, together with the role's own condition where that still excludes anything."""
        return (
            test
            if self.condition and not may_hold(test, self.rows.absent)
            else both_hold(self.condition, test)
        )

    def _gated(
        self, rows: Sequence[ShapeRow], deciding: Sequence[str], depth: int, *, hard: bool
    ) -> list[ShapeVariant] | None:
        """Two shapes, or with more depth three, that single tests tell apart."""
        gates = [f for f in deciding if _can_decide(f, rows)]
        if not gates:
            return None
        counted = self._counted
        wanted = {*gates, *counted, *filter(None, counted.values())}
        narrow = [{n: v for n, v in values.items() if n in wanted} for values, _ in rows]
        tests = distinct(candidate_tests(narrow, gates, counted), narrow)
        most = _MAX_HARD_TESTS if hard else _MAX_TESTS
        best: list[ShapeVariant] | None = None
        for one in islice(tests, most):
            test, (yes, no) = one.text, parted(one.mask, rows)
            first = self.shape(yes, hard)
            if first is None:
                continue
            second = self.shape(no, hard)
            if second is not None:
                return [(first, self._narrowed(test)), (second, self.condition)]
            if depth > 1 and best is None:
                rest = self._gated(no, deciding, depth - 1, hard=hard)
                best = [(first, self._narrowed(test)), *rest] if rest else None
        return best

    def _pieced(self) -> list[ShapeVariant] | None:
        """Shapes told apart by any condition, not by one test alone."""
        rows, counted = self.rows.present, self._counted
        gates = (f for f in self.deciding if f not in counted and _can_decide(f, rows))
        fields = list(dict.fromkeys([*self.structural, *gates]))

        def fit_seed(seed: Sequence[ShapeRow], hard: bool) -> Axes | None:
            return self.fitter.shape(seed, moved_within(seed), self._outer, hard)

        def condition(labelled: Sequence[Row]) -> str | None:
            return learn_condition(labelled, fields, counted)

        found = in_pieces(rows, seeds(self.families, self.rows.cells), fit_seed, self.shape, condition)
        if found is None:
            return None
        return [(axes, self._narrowed(test) if test else self.condition) for axes, test in found]
