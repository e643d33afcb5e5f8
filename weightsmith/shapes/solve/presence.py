"""Which flags, layer boundaries and layer lists explain which tensors are there and which are not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.shapes.page.condition_uses import Reading, readings
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.solve.budget import BUDGET, Count
from weightsmith.shapes.solve.candidate_values import distinct, domain
from weightsmith.shapes.solve.forced_lists import forced_lists
from weightsmith.shapes.solve.layer_lists import Lists, explain_lists
from weightsmith.shapes.solve.presence_search import PresenceSearch
from weightsmith.shapes.solve.propagation import Contradiction
from weightsmith.shapes.solve.relation import NEAREST, Relation, Row, connected
from weightsmith.shapes.solve.shape_variants import fields_of_shapes, variant_choices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.given.roles import Role
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.observations import Observation

WITNESS = "presence"
# A head with its bias, and an embedding of either side, are easily stored though tied; a whole second model is
# less likely than a wrong flag.
FEW_COPIES = 4


@dataclass(frozen=True, slots=True)
class _Given:
    """What all groups of one checkpoint are explained with, see `decide`.

    known: fields that are decided. counted: what a loader would take. compared: as for `explain_lists`.
    """

    known: Mapping[str, Value]
    counted: Mapping[str, Value]
    stated: Stated
    narrowed: Mapping[str, Sequence[Value]]
    compared: Count


def decide(
    roles: Sequence[Role],
    observations: Mapping[Observation, int],
    known: Mapping[str, Value],
    stated: Stated,
    narrowed: Mapping[str, Sequence[Value]],
    *,
    exactly: bool = False,
) -> tuple[Relation, ...]:
    """Explains the presence of every conditional tensor, fields that are not `known` by trying their values.

    roles: the matched patterns, for fields that decide about shapes alone. observations: what was seen, and how
    many roles agree on it. narrowed: all values of the fields that equations have narrowed down. exactly:
    raises Contradiction where nothing explains all that was seen.
    """
    decided = (seen for seen in observations if not seen.fields() - set(known))
    if exactly and any(seen.unexplained(known) for seen in decided):
        raise Contradiction
    counted = _as_loaded(stated, known)
    relations = forced_lists(observations, known, counted, stated)
    if exactly and not all(found.closed for found in relations):
        raise Contradiction
    known = {**known, **{name: value for found in relations for name, value in found.rows[0].values.items()}}
    observations = {seen: roles for seen, roles in observations.items() if not seen.is_settled(known)}
    stored = sum(len(seen.present) for seen in observations)
    most = BUDGET.comparisons + BUDGET.comparisons_a_tensor * stored
    given = _Given(
        known, counted, stated, narrowed, Count(most, f"given up after {most:,} comparisons with lists")
    )
    open_fields = stated.page.fields.keys() - known.keys()
    for members in connected(list(observations), lambda seen: seen.fields() & open_fields):
        weighted = {seen: observations[seen] for seen in members}
        fields = sorted(frozenset().union(*(seen.fields() & open_fields for seen in members)))
        relations.append(_explain(_Question.of(given, fields, weighted), exactly=exactly))
    return tuple(_with_shapes(relations, roles, observations, given))


def _with_shapes(
    relations: Iterable[Relation],
    roles: Sequence[Role],
    observations: Iterable[Observation],
    given: _Given,
) -> Iterator[Relation]:
    """The relations, lists left out of which presence says too little; then one for each field that shapes decide."""
    relations, read = list(relations), fields_of_shapes(roles)
    listed = {f: found.values(f) for found in relations for f in found.open_fields if f in read}
    relations = [found.project(found.fields - listed.keys()) for found in relations]
    yield from relations
    by_presence = frozenset(given.known).union(*(found.fields for found in relations))
    for choices in variant_choices(roles, by_presence, given.counted, given.stated):
        (field,) = choices.fields
        values = list(given.narrowed.get(field, choices.values(field)))
        if field in listed:  # shapes leave fewer lists, so they come first; then presence decides, too
            values = distinct([*values, *listed[field]])
            possible = [v for v in values if _possible(field, v, observations, given.known)]
            values = possible or list(listed[field])
        open_fields = {} if field in given.narrowed else choices.open_fields
        yield replace(Relation.column(choices.witness, field, values), open_fields=open_fields)


def _possible(
    field: str, value: Value, observations: Iterable[Observation], known: Mapping[str, Value]
) -> bool:
    """Whether `value` explains every observation that depends on nothing else that is open."""
    values = {**known, field: value}
    concerned = (seen for seen in observations if field in seen.fields() and seen.fields() <= set(values))
    return all(seen.is_explained(values) for seen in concerned)


def _as_loaded(stated: Stated, known: Mapping[str, Value]) -> dict[str, Value]:
    """What a loader would take for every field, computed defaults following what is known by now."""
    counted = {**stated.completed(), **known}
    for name, field in stated.page.fields.items():
        if name not in known and field.expression is not None and not stated.has(name):
            counted[name] = field.default(counted)
    return counted


@dataclass(frozen=True, slots=True)
class _Question:
    """Which values of `fields` explain the presence of tensors.

    lists: those of the fields that are lists, searched by another way than the others. group: what was seen, and how
    many roles agree on it. asked: what the conditions ask of each field.
    """

    given: _Given
    fields: Sequence[str]
    lists: Sequence[str]
    group: Mapping[Observation, int]
    asked: Mapping[str, Reading]

    @staticmethod
    def of(given: _Given, fields: Sequence[str], group: Mapping[Observation, int]) -> _Question:
        asked = readings(condition for seen in group for condition in seen.conditions)
        return _Question(given, fields, [f for f in fields if f in asked and asked[f].listed], group, asked)

    def domain(self, field: str) -> list[Value]:
        """Every value to try of a field that is no list."""
        given = self.given
        if field in given.narrowed:
            return distinct(given.narrowed[field])
        together = {name for seen in self.group if field in seen.fields() for name in seen.fields()}
        numbers = [v for n in together if is_number(v := given.known.get(n))]
        reading = self.asked.get(field, Reading(counted=True))
        return domain(field, given.stated.page, reading, self.group, given.counted.get(field), numbers)

    def fillings(self, values: Mapping[str, Value]) -> Relation:
        """The ways to fill the lists where the other fields have these values."""
        if not self.lists:
            return Relation.of(WITNESS, {})
        reading = [seen for seen in self.group if seen.fields() & set(self.lists)]
        known, asked = {**self.given.known, **values}, {field: self.asked[field] for field in self.lists}
        lists = Lists.of(asked, reading, known, self.given.counted, self.given.stated)
        return explain_lists(lists, reading, known, self.given.compared)

    def told_apart(self, values: Mapping[str, Value]) -> tuple[object, ...]:
        """Alike for values that no condition tells apart: two numbers of what is only asked whether it is there."""
        counted = {name for seen in self.group for count in seen.counts for name in count.fields()}
        return tuple(
            (value is None, bool(value))
            if name in self.asked and self.asked[name].only_tested and name not in counted
            else (type(value), value)
            for name, value in values.items()
        )

    def oddity(self, values: Mapping[str, Value]) -> float:
        """The price of the copies that are stored all the same; of a whole second model it is three times as high."""
        whole = {**self.given.known, **values}
        return sum(
            seen.oddity(whole, any(map(self.given.stated.has, seen.fields())))
            * (3 if roles > FEW_COPIES else 1)
            for seen, roles in self.group.items()
            if seen.copy
        )


def _explain(question: _Question, *, exactly: bool) -> Relation:
    """What the fields that some conditions tie together can be. exactly: as for `decide`."""
    domains = {field: question.domain(field) for field in question.fields if field not in question.lists}
    known = question.given.known
    search = PresenceSearch(domains, tuple(question.group), known, frozenset(question.lists))
    found = _found(search, question)
    if not found.rows and exactly:
        raise Contradiction
    if not found.rows:
        nearest = Relation.of(WITNESS, _nearest(question, domains), NEAREST)
        return replace(nearest, open_fields=dict.fromkeys(question.lists, NEAREST))
    endless = {
        field: "one number stands for others"
        for field, tried in domains.items()
        if field not in question.given.narrowed and _unbounded(found.values(field), tried)
    }
    return replace(found, open_fields={**found.open_fields, **endless})


def _found(search: PresenceSearch, question: _Question) -> Relation:
    """The combinations that explain everything, each with the price of the copies that are stored all the same."""
    rows: list[Row] = []
    gap, open_fields = "", dict[str, str]()
    fillings: dict[tuple[object, ...], Relation] = {}
    for values in search.exact():
        alike = question.told_apart(values) if question.lists else ()
        if alike not in fillings:
            if len(fillings) == BUDGET.fillings or (question.lists and question.given.compared.spent):
                gap = question.given.compared.gap or f"given up after lists for {BUDGET.fillings} settings"
                break
            fillings[alike] = question.fillings(values)
        filled = fillings[alike]
        if filled.rows:
            open_fields |= filled.open_fields
        for choice in filled.rows:
            whole = {field: {**values, **choice.values}[field] for field in question.fields}
            rows.append(Row(whole, question.oddity(whole)))
        if len(rows) >= BUDGET.explanations:
            gap = f"more than {BUDGET.explanations:,} explanations"
            break
    fields = frozenset(question.fields)
    return Relation(WITNESS, fields, tuple(rows), gap or search.tried.gap, open_fields)


def _unbounded(found: Iterable[Value], tried: Sequence[Value]) -> bool:
    """Whether numbers stand for others that were not tried: all beyond a boundary, or between two of them."""
    numbers = {value for value in found if is_number(value)}
    every = {value for value in tried if is_number(value)}
    gap = next((number for number in range(len(every) + 1) if number not in every), 0)
    return len(numbers) > 1 and (max(numbers) >= gap or max(numbers) == max(every))


def _nearest(question: _Question, domains: Mapping[str, Sequence[Value]]) -> dict[str, Value]:
    """The stated values with the one or two changes that leave the fewest tensors unexplained."""
    fields, stated = question.fields, question.given.stated
    wrong = _Unexplained(question.group, question.given.known)
    best = {field: question.given.counted.get(field) for field in fields}
    least = wrong.count(best), stated.cost(fields, best)
    for _ in range(BUDGET.changes):
        start = dict(best)
        for field, options in domains.items():
            for value in options:
                if wrong.looked_at.spent:
                    return best
                trial = {**start, field: value}
                if (price := (wrong.count(trial), stated.cost(fields, trial))) < least:
                    best, least = trial, price
    return best


class _Unexplained:
    """Counts the tensors that values leave unexplained. What does not read a changed value is not looked at again.

    looked_at: index combinations.
    """

    def __init__(self, group: Mapping[Observation, int], known: Mapping[str, Value]) -> None:
        self.looked_at = Count(BUDGET.tests, f"given up after {BUDGET.tests:,} indices")
        self._known = known
        self._group = [(seen, weight, sorted(seen.fields() - set(known))) for seen, weight in group.items()]
        self._counts: dict[tuple[object, ...], int] = {}

    def count(self, values: Mapping[str, Value]) -> int:
        whole = {**self._known, **values}
        return sum(self._of(number, whole) for number in range(len(self._group)))

    def _of(self, number: int, values: Mapping[str, Value]) -> int:
        seen, weight, fields = self._group[number]
        read = (values.get(field) for field in fields)
        key = number, *((type(value), value) for value in read)
        if key not in self._counts:
            self.looked_at.take(len(seen.looked_at))
            self._counts[key] = weight * seen.unexplained(values)
        return self._counts[key]
