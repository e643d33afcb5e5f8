"""Derives per-layer lists (`layer_types`, `mlp_only_layers`) from which tensors each layer has.

A condition reads such a list at one or a few places, so the places are found by watching it read, grouped
where a condition ties them together, and solved group by group: the cost grows with the layers, not with the
number of possible lists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.shapes.page.field_names import Length
from weightsmith.shapes.page.value import LONGEST_LIST
from weightsmith.shapes.solve.budget import BUDGET
from weightsmith.shapes.solve.candidate_values import OTHER, kinds
from weightsmith.shapes.solve.relation import Relation, Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.condition_uses import Reading
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.budget import Count
    from weightsmith.shapes.solve.observations import Combination, Observation

    _Constraint: TypeAlias = tuple[Observation, Combination]
    # Places that are filled together, and the ways to do so.
    _Filled: TypeAlias = tuple[tuple["Place", ...], list[tuple[Value, ...]]]

Place: TypeAlias = tuple[str, int]  # a list field, and a position in it (or a value that it may hold)
WITNESS = "lists"


class _Watched:
    """Stands for a list in a condition: answers from the trial and notes which places were read."""

    __slots__ = ("field", "length", "places", "trial")

    def __init__(self, field: str, length: int, trial: Mapping[Place, Value], places: list[Place]) -> None:
        self.field, self.length, self.trial, self.places = field, length, trial, places

    def __getitem__(self, position: object) -> Value:
        if not isinstance(position, int) or not -self.length <= position < self.length:
            raise IndexError
        place = self.field, position % self.length
        self.places.append(place)
        return self.trial.get(place)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int):
            return False
        self.places.append((self.field, value))
        return bool(self.trial.get((self.field, value)))

    def __len__(self) -> int:
        return self.length

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Lists:
    """List fields that are derived together, and what is known of them before any item is.

    asked: how conditions read each of them. lengths, options: how long it is and what an item may be. counted: what a
    loader would take. own: lists that the file has. undeclared: lists that may be longer than there are layers.
    """

    asked: Mapping[str, Reading]
    lengths: Mapping[str, int]
    options: Mapping[str, Sequence[Value]]
    counted: Mapping[str, Value]
    own: frozenset[str]
    undeclared: frozenset[str]

    @staticmethod
    def of(
        asked: Mapping[str, Reading],
        observations: Collection[Observation],
        values: Mapping[str, Value],
        counted: Mapping[str, Value],
        stated: Stated,
    ) -> Lists:
        """Those that are `asked` for. observations: all that read them. values: all other fields."""
        return Lists(
            asked=asked,
            lengths={f: _length(f, observations, values, stated) for f in asked},
            options={f: kinds(f, stated.page, asked[f], counted.get(f)) for f in asked},
            counted=counted,
            own=frozenset(f for f in asked if stated.has(f)),
            undeclared=frozenset(f for f in asked if not is_counted(f, values, stated)),
        )

    @property
    def too_long(self) -> bool:
        return max(self.lengths.values()) > LONGEST_LIST

    def ways(self, places: Iterable[Place]) -> Iterator[tuple[Value, ...]]:
        """Every way to fill the places."""
        return product(*(self.options[field] for field, _ in places))

    def watched(
        self, values: Mapping[str, Value], trial: Mapping[Place, Value], read: list[Place] | None = None
    ) -> dict[str, object]:
        """The values, with lists that have the items of `trial`. read: gathers the places that a condition reads."""
        gathered = [] if read is None else read
        lists = {f: _Watched(f, length, trial, gathered) for f, length in self.lengths.items()}
        return {**values, **lists}

    def places_read(
        self, seen: Observation, combination: Combination, values: Mapping[str, Value]
    ) -> set[Place] | None:
        """The places that one condition may read, found by trying what it has read so far; None: too many."""
        places: set[Place] = set()
        while True:
            read: list[Place] = []
            ordered = tuple(sorted(places))
            for way in self.ways(ordered):
                seen.expected(combination, self.watched(values, dict(zip(ordered, way, strict=True)), read))
            if places.issuperset(read):
                return places
            places.update(read)
            if len(places) > BUDGET.places:
                return None

    def as_stated(self) -> dict[str, Value]:
        """The lists that a loader would take."""
        return {field: self.counted.get(field) for field in self.asked}

    def whole(self, trial: Mapping[Place, Value]) -> dict[str, Value]:
        """The lists with these items; a place that no condition reads keeps what is stated."""
        return {field: self._whole(field, trial) for field in self.asked}

    def _whole(self, field: str, trial: Mapping[Place, Value]) -> Value:
        stated = self.counted.get(field)
        items = stated if isinstance(stated, tuple) else ()
        if self.asked[field].members and not self.asked[field].indexed:
            members = self._members(field, items, trial)
            return None if stated is None and not members else members
        length = self.lengths[field]
        fill = next((v for v in self.options[field] if v is not OTHER), None)
        spare = items[length:] if field in self.undeclared else ()
        read = (trial.get((field, p), items[p] if p < len(items) else fill) for p in range(length))
        return (*read, *spare)

    def _members(
        self, field: str, items: tuple[Value, ...], trial: Mapping[Place, Value]
    ) -> tuple[Value, ...]:
        """A list of layers. What the file says of layers that are not there is kept; a class default is not meant for
        them."""
        tested = {position for name, position in trial if name == field}
        inside = {p for (name, p), value in trial.items() if name == field and value}
        kept = [i for i in items if i in inside or (i not in tested and field in self.own)]
        return (*kept, *sorted(inside - set(kept)))

    def strangeness(self, places: Sequence[Place], way: tuple[Value, ...]) -> int:
        """How many places are filled otherwise than stated; a value that no condition names is the last resort."""
        strange = 0
        for (field, position), value in zip(places, way, strict=True):
            items = self.counted.get(field)
            if value is OTHER:
                strange += 1000
            elif isinstance(value, bool):
                strange += value != (isinstance(items, tuple) and position in items)
            elif not (isinstance(items, tuple) and position < len(items) and items[position] == value):
                strange += 1
        return strange

    def open_fields(self, read: Mapping[Place, Value]) -> dict[str, str]:
        """Lists of which some place is not read, so that they could hold something else there."""
        found: dict[str, str] = {}
        for field, reading in self.asked.items():
            places = {position for name, position in read if name == field}
            if not reading.indexed:
                found[field] = "it may hold any number that no layer has"
            elif field in self.undeclared:
                found[field] = "nothing tells its length"
            elif places != set(range(self.lengths[field])):
                found[field] = "no tensor depends on some of its items"
        return found


def explain_lists(
    lists: Lists, observations: Sequence[Observation], values: Mapping[str, Value], compared: Count
) -> Relation:
    """Every way to fill the lists that explains the observations, the likeliest first.

    values: all other fields. compared: how often an index was compared with a list that was tried, over the whole
    checkpoint; where that is too often, the lists stay as stated.
    """
    if lists.too_long:
        return _as_they_are(lists, f"longer than {LONGEST_LIST:,} items")
    # What is read here of all values: they are copied for every way to fill a place.
    read = frozenset().union(*(seen.fields() for seen in observations))
    clusters = _Clusters(lists, {name: values[name] for name in read if name in values}, compared)
    somewhere = [seen for seen in observations if not seen.is_nowhere(values)]
    for _, constraints in groupby(_layer_by_layer(somewhere), key=lambda c: c[1][:1]):
        if not clusters.take(constraints):
            return Relation(WITNESS, frozenset(lists.asked), ())
        if clusters.too_many or compared.spent:
            why = compared.gap or f"one condition reads more than {BUDGET.places} items"
            return _as_they_are(lists, why)
    found = _assembled(lists, clusters.filled())
    # A list that repeats over the layers may be of another length than was tried (`kinds[layer % len(kinds)]`).
    return _with_stated(lists, found, observations, values) if lists.undeclared else found


def _with_stated(
    lists: Lists, found: Relation, observations: Iterable[Observation], values: Mapping[str, Value]
) -> Relation:
    """With the lists that a loader would take before the others, where these explain all that was seen."""
    kept = lists.as_stated()
    whole = {**values, **kept}
    if not all(seen.explained(c, whole) for seen in observations for c in seen.looked_at):
        return found
    others = (row for row in found.rows if row.values != kept)
    longer = dict.fromkeys(sorted(lists.undeclared), "nothing tells its length")
    return replace(found, rows=(Row(kept), *others), open_fields={**found.open_fields, **longer})


def _as_they_are(lists: Lists, why: str) -> Relation:
    """The lists that a loader would take, as all others could not be tried."""
    found = Relation.of(WITNESS, lists.as_stated())
    return replace(found, open_fields=dict.fromkeys(lists.asked, why))


def is_counted(field: str, values: Mapping[str, Value], stated: Stated) -> bool:
    """Whether something tells how long a list is: a count of the page, or names of tensors that have its length."""
    return field in stated.page.lists or Length(field) in values


def _length(
    field: str, observations: Iterable[Observation], values: Mapping[str, Value], stated: Stated
) -> int:
    declared = stated.page.lists.get(field)
    length = declared.at(values) if declared else None
    if length is None:
        length = max((s for seen in observations if field in seen.fields() for s in seen.sizes), default=0)
    return length


def _layer_by_layer(observations: Iterable[Observation]) -> list[_Constraint]:
    """All that was seen, that of the first layer first: most lists that explain nothing fail there already."""
    seen = ((observed, combination) for observed in observations for combination in observed.looked_at)
    return sorted(seen, key=lambda constraint: constraint[1][:1])


class _Clusters:
    """Places that must be filled together, with the observations that read them.

    too_many: whether one of the clusters has more places than can be tried.
    """

    def __init__(self, lists: Lists, values: Mapping[str, Value], compared: Count) -> None:
        self.lists, self.values, self.compared = lists, values, compared
        self.too_many = False
        self._groups: dict[frozenset[Place], list[_Constraint]] = {}
        self._ways: dict[frozenset[Place], list[tuple[Value, ...]]] = {}

    def take(self, constraints: Iterable[_Constraint]) -> bool:
        """Adds them; says whether each place that they read can still be filled."""
        touched: set[Place] = set()
        for seen, combination in constraints:
            places = self.lists.places_read(seen, combination, self.values)
            if places == set():  # no list says anything about it
                if not self._explains((), (), [(seen, combination)]):
                    return False
                continue
            if places is None or not self._merge(places, (seen, combination)):
                self.too_many = True
                return True
            touched |= places
        concerned = [group for group in self._groups if not group.isdisjoint(touched)]
        for group in concerned:
            self._ways[group] = list(self._fitting(group))
            if not self._ways[group]:
                return False
        return True

    def _merge(self, places: set[Place], constraint: _Constraint) -> bool:
        """Puts a constraint to all groups that it ties together; False when they are too many places."""
        merged, constraints = set(places), [constraint]
        for other in [g for g in self._groups if g & merged]:
            merged |= other
            constraints += self._groups.pop(other)
        group = frozenset(merged)
        self._groups[group] = self._groups.get(group, []) + constraints
        return len(merged) <= BUDGET.places

    def filled(self) -> list[_Filled]:
        """Each cluster with every way to fill it that explains all that reads it, the likeliest first."""
        found: list[_Filled] = []
        for group in self._groups:
            places, ways = tuple(sorted(group)), self._ways[group]
            found.append((places, sorted(ways, key=partial(self.lists.strangeness, places))))
        return found

    def _fitting(self, group: frozenset[Place]) -> Iterator[tuple[Value, ...]]:
        places, constraints = tuple(sorted(group)), self._groups[group]
        for way in self.lists.ways(places):
            if self._explains(places, way, constraints):
                yield way

    def _explains(
        self, places: Sequence[Place], way: tuple[Value, ...], constraints: Iterable[_Constraint]
    ) -> bool:
        environment = self.lists.watched(self.values, dict(zip(places, way, strict=True)))
        for seen, combination in constraints:
            self.compared.take()
            if not seen.explained(combination, environment):
                return False
        return True


def _assembled(lists: Lists, filled: Sequence[_Filled]) -> Relation:
    """Whole lists from the places that are filled together."""
    likeliest = {p: v for places, ways in filled for p, v in zip(places, ways[0], strict=True)}
    several = {field for places, ways in filled if len(ways) > 1 for field, _ in places}
    choices = [lists.whole(likeliest)]
    if 1 < prod(len(ways) for _, ways in filled) <= BUDGET.lists:
        for picked in product(*(ways for _, ways in filled)):
            pairs = zip(filled, picked, strict=True)
            trial = {p: v for (places, _), way in pairs for p, v in zip(places, way, strict=True)}
            choices.append(lists.whole(trial))
    kept = {tuple(sorted((k, str(v)) for k, v in choice.items())): choice for choice in choices}
    open_fields = dict.fromkeys(sorted(several), "other items explain the tensors as well")
    open_fields |= lists.open_fields(likeliest)
    fields, rows = frozenset(lists.asked), tuple(Row(choice) for choice in kept.values())
    return Relation(WITNESS, fields, rows, "", open_fields)
