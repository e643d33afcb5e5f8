"""From the sightings of one role to its equation: how far its indices run, its shape, and when it exists."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightsmith.shapes.learn.fit.conditions import candidate_tests, learn_condition
from weightsmith.shapes.learn.fit.index_space import Slots, cube, differ, even, list_items, plain_field
from weightsmith.shapes.learn.fit.piecewise import in_pieces, moved_within, seeds
from weightsmith.shapes.learn.fit.polynomials import fit_value
from weightsmith.shapes.learn.fit.sightings import slot_names
from weightsmith.shapes.learn.fit.splits import both, ever, is_gate, split
from weightsmith.shapes.learn.probe.starting_config import is_int
from weightsmith.shapes.page.expression import Item, Polynomial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from weightsmith.shapes.learn.fit.sightings import Indices, RoleName, Sighting
    from weightsmith.shapes.page.expression import Value

Shape = tuple[int, ...]
Values = dict[str, "Value"]
Variant = tuple[tuple[Polynomial, ...], str]
_MAX_DEPTH = 2
_MAX_TESTS = 80
_MAX_HARD_TESTS = 12
# A role whose equation is in the language is found in a second; the search for others must end.
_ROLE_SECONDS = 15.0
# So many different numbers have to agree before another role's equation is taken over.
_FAMILIAR = 4


@dataclass(frozen=True, slots=True)
class Equation:
    """One role: the count of each slot, and its shapes with their conditions ("" for always), first match wins."""

    role: RoleName
    slots: Slots
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """One role in every observation. present: values with indices, and the shape there. distinct: of these, one
    per shape and observation. absent: values where the role could be and is not. where: the indices seen. cells: by
    observation, what is present at which indices."""

    present: list[tuple[Values, Shape]]
    distinct: list[tuple[Values, Shape]]
    absent: list[Values]
    where: list[frozenset[Indices]]
    cells: list[dict[Indices, tuple[Values, Shape]]]


class Unexpressed(Exception):
    """No equation of the language fits; the text says what is not understood."""


class Uncounted(Unexpressed):
    """No equation says how many there are of a container."""

    def __init__(self, container: str) -> None:
        super().__init__(f"no equation found for how many {container}# there are")
        self.container = container


@dataclass(slots=True)
class Fitter:
    """Fits the roles of one model class; equal questions are answered once.

    fields: all that tensors depend on. structural: those that decide which tensors exist. nulls: what stands
    for null in a field.
    """

    sightings: Sequence[Sighting]
    fields: Sequence[str]
    structural: Sequence[str]
    nulls: Mapping[str, Polynomial] = field(default_factory=dict)
    _narrow: list[Values] = field(default_factory=list)
    _pairs: list[tuple[str, Sighting, Sighting]] = field(default_factory=list)
    # Per origin, its place among the sightings and those of its children in which single sizes were changed.
    _families: dict[int, list[int]] = field(default_factory=dict)
    _counts: dict[str, Polynomial | None] = field(default_factory=dict)
    _values: dict[Any, Polynomial | None] = field(default_factory=dict)
    _presence: dict[Any, str | None] = field(default_factory=dict)
    _role_ends: float = float("inf")
    _equations: dict[str, Equation] = field(default_factory=dict)
    _twins: dict[str, tuple[Polynomial, ...]] = field(default_factory=dict)
    _texts: dict[int, str] = field(default_factory=dict)
    # The axis that failed last is tried first: most tests that could tell shapes apart fail at the same one.
    _suspect: int = 0

    def __post_init__(self) -> None:
        by_id = {id(s.observation): s for s in self.sightings}
        siblings: dict[tuple[int, tuple[str, ...]], Sighting] = {}
        place = {id(s.observation): i for i, s in enumerate(self.sightings)}
        for s in self.sightings:
            own = {n: v for n in self.fields if (v := s.observation.values.get(n, ...)) is not ...}
            for name, rule in self.nulls.items():
                if own.get(name) is None:
                    own[name] = rule.substitute(own).known()
            self._narrow.append(own)
            origin, changed = by_id.get(id(s.observation.origin)), s.observation.changed
            if origin is None or not changed:
                continue
            self._pairs += [(name, origin, s) for name in changed]
            if all(_is_size(s.observation.values.get(n)) and n not in self.structural for n in changed):
                at = place[id(origin.observation)]
                self._families.setdefault(at, [at]).append(place[id(s.observation)])
            # Two values of one field differ from each other by that field alone, too.
            sibling = siblings.get((id(origin), changed))
            if sibling is not None:
                self._pairs += [(name, sibling, s) for name in changed]
            siblings[id(origin), changed] = s

    def equation(self, role: RoleName) -> Equation:
        """Raises Unexpressed."""
        self._role_ends = time.process_time() + _ROLE_SECONDS
        slots = self._slots(role)
        rows = self._rows(role, slots)
        condition = self._condition(rows, slots)
        if condition is None:
            raise Unexpressed("no condition found for its existence")
        moved = self._moved_axes(role)
        outer = [name for name, _ in slots]
        twin = self._twins.get(str(role).removesuffix(".bias") + ".weight", ())

        def shape(some: Sequence[tuple[Values, Shape]], hard: bool) -> tuple[Polynomial, ...] | None:
            return self._shape(some, moved, outer, hard, twin)

        def narrowed(test: str) -> str:
            return test if condition and not ever(test, rows.absent) else both(condition, test)

        movers = sorted(set().union(*moved.values(), ()))
        # What makes tensors come and go may decide a shape, too, where a shape depends on the index.
        uneven = len(rows.distinct) > sum(map(bool, rows.where))
        deciding = list(dict.fromkeys([*movers, *((*self.structural, *outer) if uneven else ())]))
        listed = any(isinstance(values.get(name), list) for name in movers for values in self._narrow[:1])
        single = None if listed else shape(rows.distinct, False)
        variants = self._as_its_weight(role, rows, condition)
        if variants is None:
            variants = (
                [(single, condition)]
                if single is not None
                else self._variants(rows.present, rows.cells, slots, condition, deciding, shape, narrowed)
            )
        if variants is None:
            names = sorted(set().union(*moved.values(), ()))
            raise Unexpressed(
                f"no equation found for its shape, moved by {', '.join(names) or 'nothing seen'}"
            )
        found = Equation(role, slots, tuple(variants))
        self.adopt(found)
        return found

    def adopt(self, equation: Equation) -> None:
        """Takes an equation that was found before for one of this fitter's own."""
        self._twins[str(equation.role)] = _axes_of(equation)
        self._equations[str(equation.role)] = equation

    def holds(self, equation: Equation, places: Iterable[int]) -> bool:
        """Whether it gives exactly the role's tensors in the sightings at these places."""
        names = [name for name, _ in equation.slots]
        for place in places:
            own, seen = self._narrow[place], self.sightings[place].roles.get(equation.role, {})
            given = {}
            for cell in cube(equation.slots, own):
                shape = _shape_at(equation, {**own, **dict(zip(names, cell, strict=True))})
                if shape is not None:
                    given[cell] = shape
            if given != seen:
                return False
        return True

    def movers(self, role: RoleName) -> frozenset[str]:
        """Every field that alone was seen to change a shape of the role, or how far its indices run."""
        counted = (
            changed
            for container in role.containers
            for changed, before, after in self._pairs
            if differ(before.sizes.get(container, {}), after.sizes.get(container, {}))
        )
        return frozenset().union(*self._moved_axes(role).values(), counted)

    def _as_its_weight(self, role: RoleName, rows: _Rows, condition: str) -> list[Variant] | None:
        """A bias has its weight's first axis under its weight's tests, where that explains every row."""
        weight = self._equations.get(str(role).removesuffix(".bias") + ".weight")
        if weight is None or not str(role).endswith(".bias") or len(weight.variants) < 2:
            return None
        variants: list[Variant] = [((axes[0],), both(condition, test)) for axes, test in weight.variants]
        for values, shape in rows.present:
            first = next((axes for axes, test in variants if not test or ever(test, [values])), None)
            if first is None or first[0].substitute(values).known() != shape[0]:
                return None
        return variants

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
                for s, values in zip(self.sightings, self._narrow, strict=True)
                for at, size in s.sizes.get(container, {}).items()
            ]
            moved = list(
                dict.fromkeys(
                    changed
                    for changed, before, after in self._pairs
                    if differ(before.sizes.get(container, {}), after.sizes.get(container, {}))
                )
            )
            fitted = self._fit(rows, moved, outer, hard=False)
            self._counts[container] = fitted or self._fit(rows, moved, outer, hard=True)
        return self._counts[container]

    def _rows(self, role: RoleName, slots: Slots) -> _Rows:
        """Raises Unexpressed when an index lies beyond its count."""
        rows = _Rows([], [], [], [], [])
        names = [name for name, _ in slots]
        for s, own in zip(self.sightings, self._narrow, strict=True):
            seen = s.roles.get(role, {})
            cells = cube(slots, own)
            found = {cell: shape for cell in cells if (shape := seen.get(cell)) is not None}
            if len(found) < len(seen):
                raise Unexpressed("an index beyond its count")
            rows.where.append(frozenset(seen))
            if names and even(cells, found):
                cells = [cell for cell in cells if not cell[-1]]
            known: set[Shape] = set()
            rows.cells.append({})
            for cell in cells:
                values = {**own, **dict(zip(names, cell, strict=True))} if names else own
                shape = found.get(cell)
                if shape is None:
                    rows.absent.append(values)
                    continue
                rows.present.append((values, shape))
                rows.cells[-1][cell] = rows.present[-1]
                if shape not in known:
                    known.add(shape)
                    rows.distinct.append((values, shape))
        return rows

    def _condition(self, rows_of: _Rows, slots: Slots) -> str | None:
        if not rows_of.absent:
            return ""
        key = (slots, tuple(rows_of.where))
        if key not in self._presence:
            rows = [(values, True) for values, _ in rows_of.present] + [(v, False) for v in rows_of.absent]
            counted = {name: plain_field(count) for name, count in slots}
            known = dict.fromkeys(text for text in self._presence.values() if text)
            self._presence[key] = learn_condition(rows, self.structural, counted, known)
        return self._presence[key]

    def _pieced(
        self,
        rows: Sequence[tuple[Values, Shape]],
        cells: Sequence[Mapping[Indices, tuple[Values, Shape]]],
        slots: Slots,
        condition: str,
        deciding: Sequence[str],
        shape: Callable[[Sequence[tuple[Values, Shape]], bool], tuple[Polynomial, ...] | None],
        narrowed: Callable[[str], str],
    ) -> list[Variant] | None:
        """Shapes told apart by any condition, not by one test alone."""
        outer = [name for name, _ in slots]
        counted = {name: plain_field(count) for name, count in slots}
        fields = list(
            dict.fromkeys([*self.structural, *(f for f in deciding if f not in counted and is_gate(f, rows))])
        )

        def fit(seed: Sequence[tuple[Values, Shape]], hard: bool) -> tuple[Polynomial, ...] | None:
            return self._shape(seed, moved_within(seed), outer, hard, ())

        def test(labelled: Sequence[tuple[Mapping[str, Value], bool]]) -> str | None:
            return learn_condition(labelled, fields, counted)

        found = in_pieces(rows, seeds(self._families.values(), cells), fit, shape, test)
        return None if found is None else [(axes, narrowed(t) if t else condition) for axes, t in found]

    def _variants(
        self,
        rows: Sequence[tuple[Values, Shape]],
        cells: Sequence[Mapping[Indices, tuple[Values, Shape]]],
        slots: Slots,
        condition: str,
        deciding: Sequence[str],
        shape: Callable[[Sequence[tuple[Values, Shape]], bool], tuple[Polynomial, ...] | None],
        narrowed: Callable[[str], str],
    ) -> list[Variant] | None:
        """One shape; or two or three, told apart by a test; multilinear ones before floors and limits."""
        single = shape(rows, False)
        if single is not None:
            return [(single, condition)]
        gated = self._gated(rows, slots, condition, deciding, shape, narrowed, _MAX_DEPTH, False)
        if gated is not None:
            return gated
        pieced = self._pieced(rows, cells, slots, condition, deciding, shape, narrowed)
        if pieced is not None:
            return pieced
        nullable = [f for f in deciding if any(values.get(f) is None for values, _ in rows)]
        gated = self._gated(rows, slots, condition, nullable, shape, narrowed, 1, True)
        if gated is not None:
            return gated
        single = shape(rows, True)
        if single is not None:
            return [(single, condition)]
        return self._gated(rows, slots, condition, deciding, shape, narrowed, 1, True)

    def _gated(
        self,
        rows: Sequence[tuple[Values, Shape]],
        slots: Slots,
        condition: str,
        deciding: Sequence[str],
        shape: Callable[[Sequence[tuple[Values, Shape]], bool], tuple[Polynomial, ...] | None],
        narrowed: Callable[[str], str],
        depth: int,
        hard: bool,
    ) -> list[Variant] | None:
        counted = {name: plain_field(count) for name, count in slots}
        gates = [f for f in deciding if is_gate(f, rows)]
        if not gates:
            return None
        wanted = {*gates, *counted, *filter(None, counted.values())}
        narrow = [({n: v for n, v in values.items() if n in wanted}, True) for values, _ in rows]
        tests = sorted(candidate_tests(narrow, gates, counted), key=lambda t: t[1])
        best: list[Variant] | None = None
        for test, _ in tests[: _MAX_HARD_TESTS if hard else _MAX_TESTS]:
            yes, no = split(test, rows)
            first = shape(yes, hard) if yes and no else None
            if first is None:
                continue
            second = shape(no, hard)
            if second is not None:
                return [(first, narrowed(test)), (second, condition)]
            if depth > 1 and best is None:
                rest = self._gated(no, slots, condition, deciding, shape, narrowed, depth - 1, hard)
                best = [(first, narrowed(test)), *rest] if rest else None
        return best

    def _shape(
        self,
        rows: Sequence[tuple[Values, Shape]],
        moved: Mapping[int, set[str]],
        outer: Sequence[str],
        hard: bool,
        twin: Sequence[Polynomial],
    ) -> tuple[Polynomial, ...] | None:
        if len({len(shape) for _, shape in rows}) != 1:
            return None
        count = len(rows[0][1])
        axes: dict[int, Polynomial] = {}
        for axis in sorted(range(count), key=lambda axis: axis != self._suspect):
            numbers = [(values, shape[axis]) for values, shape in rows]
            fitted = self._familiar(numbers, twin, hard)
            if fitted is None:
                fitted = self._fit(numbers, sorted(moved.get(axis, ())), outer, hard=hard)
            if fitted is None:
                self._suspect = axis
                return None
            axes[axis] = fitted
        return tuple(axes[axis] for axis in range(count))

    def _familiar(
        self, rows: Sequence[tuple[Values, int]], twin: Sequence[Polynomial], others_too: bool
    ) -> Polynomial | None:
        """An equation of another role that fits: a bias seen too rarely to say what moves it has a weight."""
        different = len({number for _, number in rows})
        candidates = list(twin) if different > 1 else []
        if others_too and different >= _FAMILIAR:
            candidates += [p for p in self._values.values() if p is not None and p.fields()]
        for known in candidates:
            if all(known.substitute(values).known() == number for values, number in rows):
                return known
        return None

    def _moved_axes(self, role: RoleName) -> dict[int, set[str]]:
        """Per axis, the fields that moved it when they alone were changed (in a list: the whole list)."""
        moved: dict[int, set[str]] = {}
        for changed, before, after in self._pairs:
            old, new = before.roles.get(role, {}), after.roles.get(role, {})
            for at in old.keys() & new.keys():
                if old[at] != new[at]:
                    longest = max(len(old[at]), len(new[at]))
                    alike = len(old[at]) == len(new[at])
                    for axis in range(longest):
                        if not alike or old[at][axis] != new[at][axis]:
                            moved.setdefault(axis, set()).add(changed)
        return moved

    def _text(self, value: Value) -> object:
        """What stands for a value where rows are compared: a list is the same object in all rows of an observation."""
        if not isinstance(value, list):
            return value if type(value) is int else repr(value)
        if id(value) not in self._texts:
            self._texts[id(value)] = repr(value)
        return self._texts[id(value)]

    def _fit(
        self, rows: Sequence[tuple[Values, int]], moved: Sequence[str], outer: Iterable[str], *, hard: bool
    ) -> Polynomial | None:
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
        if key not in self._values:
            if time.process_time() > self._role_ends:
                raise Unexpressed(f"no equation found in time, moved by {', '.join(moved)}")
            self._values[key] = fit_value(list(narrow.values()), fields, items, hard=hard)
        return self._values[key]


def _axes_of(equation: Equation) -> tuple[Polynomial, ...]:
    return tuple(dict.fromkeys(axis for shape, _ in equation.variants for axis in shape))


def _shape_at(equation: Equation, values: Values) -> tuple[int | None, ...] | None:
    """The shape of the first variant whose test holds; None when there is none."""
    for shape, test in equation.variants:
        if not test or ever(test, [values]):
            try:
                return tuple(axis.substitute(values).known() for axis in shape)
            except (TypeError, ZeroDivisionError):
                return (None,)
    return None


def _is_size(value: Value) -> bool:
    return all(map(is_int, value)) if isinstance(value, list) else is_int(value)
