"""Derives per-layer lists (`layer_types`, `mlp_only_layers`) from which tensors each layer has.

A condition reads such a list at one or a few places, so the places are found by watching it read, grouped
where a condition ties them together, and solved group by group: the cost grows with the layers, not with the
number of possible lists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby, product
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.shapes.page.field_names import Length
from weightsmith.shapes.page.value import LONGEST_LIST
from weightsmith.shapes.solve.budget import BUDGET
from weightsmith.shapes.solve.candidate_values import OTHER, kinds
from weightsmith.shapes.solve.relation import Relation, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.condition_uses import Reading
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.budget import Count
    from weightsmith.shapes.solve.observations import Observation

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


def explain_lists(
    fields: Sequence[str],
    observations: Sequence[Observation],
    values: Mapping[str, Value],
    counted: Mapping[str, Value],
    stated: Stated,
    asked: Mapping[str, Reading],
    compared: Count,
) -> Relation:
    """Every way to fill the lists that explains the observations, the likeliest first.

    values: all other fields. counted: what a loader would take, the lists included. compared: how often an index was
    compared with a list that was tried, over the whole checkpoint; where that is too often, the lists stay as stated.
    """
    lengths = {f: list_length(f, observations, values, counted, stated) for f in fields}
    if max(lengths.values()) > LONGEST_LIST:
        return _as_they_are(fields, counted, f"longer than {LONGEST_LIST:,} items")
    options = {f: kinds(f, stated.page, asked[f], counted.get(f)) for f in fields}
    # What is read here of all values: they are copied for every way to fill a place.
    read = frozenset().union(*(seen.fields() for seen in observations))
    clusters = _Clusters({name: values[name] for name in read if name in values}, lengths, options, compared)
    somewhere = [seen for seen in observations if not seen.is_nowhere(values)]
    for _, constraints in groupby(_layer_by_layer(somewhere), key=lambda c: c[1][:1]):
        if not clusters.take(constraints):
            return Relation(WITNESS, frozenset(fields), ())
        if clusters.too_many or compared.spent:
            why = compared.gap or f"one condition reads more than {BUDGET.places} items"
            return _as_they_are(fields, counted, why)
    filled = [
        (places, sorted(clusters.ways(places), key=lambda w: _strangeness(places, w, counted)))
        for places in clusters.places()
    ]
    undeclared = frozenset(f for f in fields if not is_counted(f, values, stated))
    own = frozenset(field for field in fields if stated.has(field))
    found = _assembled(Assembly(fields, lengths, counted, asked, options, own, undeclared), filled)
    # A list that repeats over the layers may be of another length than was tried (`kinds[layer % len(kinds)]`).
    return _with_stated(found, observations, values, counted, undeclared) if undeclared else found


def _with_stated(
    found: Relation,
    observations: Iterable[Observation],
    values: Mapping[str, Value],
    counted: Mapping[str, Value],
    undeclared: frozenset[str],
) -> Relation:
    """With the lists that a loader would take before the others, where these explain all that was seen."""
    kept = as_stated(sorted(found.fields), counted)
    whole = {**values, **kept}
    if not all(seen.explained(c, whole) for seen in observations for c in seen.looked_at):
        return found
    others = (row for row in found.rows if row.values != kept)
    longer = dict.fromkeys(sorted(undeclared), "nothing tells its length")
    return replace(found, rows=(Row(kept), *others), open_fields={**found.open_fields, **longer})


def _as_they_are(fields: Sequence[str], counted: Mapping[str, Value], why: str) -> Relation:
    """The lists that a loader would take, where all others could not be tried."""
    found = Relation.of(WITNESS, as_stated(fields, counted))
    return replace(found, open_fields=dict.fromkeys(fields, why))


def is_counted(field: str, values: Mapping[str, Value], stated: Stated) -> bool:
    """Whether something tells how long a list is: a count of the page, or names of tensors that have its length."""
    return field in stated.page.lists or Length(field) in values


def list_length(
    field: str,
    observations: Iterable[Observation],
    values: Mapping[str, Value],
    counted: Mapping[str, Value],
    stated: Stated,
) -> int:
    declared = stated.page.lists.get(field)
    length = declared.at(values) if declared else None
    if length is None:
        length = max((s for seen in observations if field in seen.fields() for s in seen.sizes), default=0)
    return length


_Constraint: TypeAlias = tuple["Observation", tuple[int, ...]]


def _layer_by_layer(observations: Iterable[Observation]) -> list[_Constraint]:
    """All that was seen, that of the first layer first: most lists that explain nothing fail there already."""
    seen = ((observed, combination) for observed in observations for combination in observed.looked_at)
    return sorted(seen, key=lambda constraint: constraint[1][:1])


class _Clusters:
    """Places that must be filled together, with the observations that read them.

    too_many: whether one of the clusters has more places than can be tried.
    """

    def __init__(
        self,
        values: Mapping[str, Value],
        lengths: Mapping[str, int],
        options: Mapping[str, Sequence[Value]],
        compared: Count,
    ) -> None:
        self.values, self.lengths, self.options, self.compared = values, lengths, options, compared
        self.too_many = False
        self._groups: dict[frozenset[Place], list[_Constraint]] = {}
        self._ways: dict[frozenset[Place], list[tuple[Value, ...]]] = {}

    def take(self, constraints: Iterable[_Constraint]) -> bool:
        """Adds them; says whether each place that they read can still be filled."""
        touched: set[Place] = set()
        for seen, combination in constraints:
            places = places_read(seen, combination, self.values, self.lengths, self.options)
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

    def places(self) -> list[tuple[Place, ...]]:
        """The places of each cluster."""
        return [tuple(sorted(group)) for group in self._groups]

    def ways(self, places: tuple[Place, ...]) -> list[tuple[Value, ...]]:
        """Every way to fill a cluster that explains all that reads it."""
        return self._ways[frozenset(places)]

    def _fitting(self, group: frozenset[Place]) -> Iterator[tuple[Value, ...]]:
        places, constraints = tuple(sorted(group)), self._groups[group]
        for way in _ways(places, self.options):
            if self._explains(places, way, constraints):
                yield way

    def _explains(
        self, places: Sequence[Place], way: tuple[Value, ...], constraints: Iterable[_Constraint]
    ) -> bool:
        environment = watching(self.values, self.lengths, dict(zip(places, way, strict=True)), [])
        for seen, combination in constraints:
            self.compared.take()
            if not seen.explained(combination, environment):
                return False
        return True


def places_read(
    seen: Observation,
    combination: tuple[int, ...],
    values: Mapping[str, Value],
    lengths: Mapping[str, int],
    options: Mapping[str, Sequence[Value]],
) -> set[Place] | None:
    """The places that one condition may read, found by trying what it has read so far."""
    places: set[Place] = set()
    while True:
        found: set[Place] = set()
        ordered = tuple(sorted(places))
        for way in _ways(ordered, options):
            read: list[Place] = []
            seen.expected(combination, watching(values, lengths, dict(zip(ordered, way, strict=True)), read))
            found |= set(read)
        if found <= places:
            return places
        places |= found
        if len(places) > BUDGET.places:
            return None


def watching(
    values: Mapping[str, Value], lengths: Mapping[str, int], trial: Mapping[Place, Value], read: list[Place]
) -> dict[str, object]:
    return {**values, **{field: _Watched(field, length, trial, read) for field, length in lengths.items()}}


def _ways(places: Sequence[Place], options: Mapping[str, Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
    return product(*(options[field] for field, _ in places))


def _strangeness(places: Sequence[Place], way: tuple[Value, ...], counted: Mapping[str, Value]) -> int:
    """How many places are filled otherwise than stated; a value that no condition names is the last resort."""
    strange = 0
    for (field, position), value in zip(places, way, strict=True):
        items = counted.get(field)
        if value is OTHER:
            strange += 1000
        elif isinstance(value, bool):
            strange += value != (isinstance(items, tuple) and position in items)
        elif not (isinstance(items, tuple) and position < len(items) and items[position] == value):
            strange += 1
    return strange


def as_stated(fields: Iterable[str], counted: Mapping[str, Value]) -> dict[str, Value]:
    return {field: counted.get(field) for field in fields}


@dataclass(frozen=True, slots=True)
class Assembly:
    """How whole lists are made from the places that conditions read.

    lengths, options: per list field, how long it is and what an item may be. counted: what a loader would take.
    asked: how conditions read each list. own: lists that the file has. undeclared: lists that may be longer than
    there are layers.
    """

    fields: Sequence[str]
    lengths: Mapping[str, int]
    counted: Mapping[str, Value]
    asked: Mapping[str, Reading]
    options: Mapping[str, Sequence[Value]]
    own: frozenset[str]
    undeclared: frozenset[str]

    def whole(self, trial: Mapping[Place, Value]) -> dict[str, Value]:
        """The lists with these items; a place that no condition reads keeps what is stated."""
        return {field: self._whole(field, trial) for field in self.fields}

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

    def open_fields(self, read: Mapping[Place, Value]) -> dict[str, str]:
        """Lists of which some place is not read, so that they could hold something else there."""
        found: dict[str, str] = {}
        for field in self.fields:
            places = {position for name, position in read if name == field}
            if not self.asked[field].indexed:
                found[field] = "it may hold any number that no layer has"
            elif field in self.undeclared:
                found[field] = "nothing tells its length"
            elif places != set(range(self.lengths[field])):
                found[field] = "no tensor depends on some of its items"
        return found


def _assembled(
    assembly: Assembly, filled: Sequence[tuple[tuple[Place, ...], list[tuple[Value, ...]]]]
) -> Relation:
    """Whole lists from the places.

    filled: places that are filled together, with the ways to do so, the likeliest first.
    """
    likeliest = {p: v for places, ways in filled for p, v in zip(places, ways[0], strict=True)}
    several = {field for places, ways in filled if len(ways) > 1 for field, _ in places}
    choices = [assembly.whole(likeliest)]
    if 1 < prod(len(ways) for _, ways in filled) <= BUDGET.lists:
        for picked in product(*(ways for _, ways in filled)):
            pairs = zip(filled, picked, strict=True)
            trial = {p: v for (places, _), way in pairs for p, v in zip(places, way, strict=True)}
            choices.append(assembly.whole(trial))
    kept = {tuple(sorted((k, str(v)) for k, v in choice.items())): choice for choice in choices}
    open_fields = dict.fromkeys(sorted(several), "other items explain the tensors as well")
    open_fields |= assembly.open_fields(likeliest)
    fields, rows = frozenset(assembly.fields), tuple(Row(choice) for choice in kept.values())
    return Relation(WITNESS, fields, rows, "", open_fields)
