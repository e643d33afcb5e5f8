"""Fits numbers and whole shapes of one model class; equal questions are answered once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.check import equals
from weightsmith.shapes.learn.fit.equation import Unexpressed
from weightsmith.shapes.learn.fit.index_space import list_items
from weightsmith.shapes.learn.fit.polynomials import fit_value
from weightsmith.shapes.page.expression import Item, Polynomial

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.learn.fit.check import ShapeRow, Values
    from weightsmith.shapes.learn.fit.equation import Axes
    from weightsmith.shapes.page.value import Value

# So many different numbers have to agree before another role's equation is taken over.
_FAMILIAR = 4
# What a fit costs in which floors, limits and powers are tried, in plain ones.
_HARD_FIT = 100
# What the rows say, the fields that may be read, and whether floors, limits and powers are tried.
_Question = tuple[frozenset[object], tuple[str, ...], bool]


@dataclass(slots=True)
class ShapeFitter:
    """left: how many plain fits the search for the present role may still take."""

    left: float = math.inf
    _answers: dict[_Question, Polynomial | None] = field(default_factory=dict)
    _texts: dict[int, str] = field(default_factory=dict)
    # The axis that failed last is tried first: most tests that could tell shapes apart fail at the same one.
    _suspect: int = 0

    def shape(
        self,
        rows: Sequence[ShapeRow],
        moved: Mapping[int, set[str]],
        outer: Sequence[str],
        hard: bool,
    ) -> Axes | None:
        """The axes that give every row's shape; None when there are none.

        moved: per axis, the fields that move it. outer: the names of the slots. hard: floors, limits and powers are
        tried, and other roles' equations.
        """
        if len({len(shape) for _, shape in rows}) != 1:
            return None
        count = len(rows[0][1])
        axes: dict[int, Polynomial] = {}
        for axis in sorted(range(count), key=lambda axis: axis != self._suspect):
            numbers = [(values, shape[axis]) for values, shape in rows]
            fitted = self._familiar(numbers) if hard else None
            if fitted is None:
                fitted = self.number(numbers, sorted(moved.get(axis, ())), outer, hard=hard)
            if fitted is None:
                self._suspect = axis
                return None
            axes[axis] = fitted
        return tuple(axes[axis] for axis in range(count))

    def number(
        self, rows: Sequence[tuple[Values, int]], moved: Sequence[str], outer: Iterable[str], *, hard: bool
    ) -> Polynomial | None:
        """The polynomial that gives every row's number. Raises Unexpressed where no fit is left for the role."""
        items = list_items(moved, rows, outer)
        owners = {item.owner for item in items if isinstance(item, Item)}
        fields = [f for f in moved if f not in owners]
        wanted = {
            *fields,
            *owners,
            *(slot for item in items if isinstance(item, Item) for slot in item.index.fields()),
        }
        order = sorted(wanted)
        narrow: dict[object, tuple[Values, int]] = {}
        for values, number in rows:
            told = number, *(self._text(values[n]) if n in values else ... for n in order)
            if told not in narrow:
                narrow[told] = {n: values[n] for n in order if n in values}, number
        key = (frozenset(narrow), tuple(fields), hard)
        if key not in self._answers:
            if self.left <= 0:
                raise Unexpressed(f"no equation found soon, moved by {', '.join(moved)}")
            self.left -= _HARD_FIT if hard else 1
            self._answers[key] = fit_value(list(narrow.values()), fields, items, hard=hard)
        return self._answers[key]

    def _familiar(self, rows: Sequence[tuple[Values, int]]) -> Polynomial | None:
        """An equation of another role that fits these rows."""
        if len({number for _, number in rows}) < _FAMILIAR:
            return None
        known = (p for p in self._answers.values() if p is not None and p.fields())
        return next((one for one in known if equals(one, rows)), None)

    def _text(self, value: Value) -> object:
        """What stands for a value where rows are compared: a list is the same object in all rows of an observation."""
        if not isinstance(value, tuple):
            return value if type(value) is int else repr(value)
        if id(value) not in self._texts:
            self._texts[id(value)] = repr(value)
        return self._texts[id(value)]
