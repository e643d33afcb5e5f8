"""Which flags, layer boundaries and layer lists explain which tensors are there and which are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.shapes.page.condition_uses import Reading, readings
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.solve.candidate_values import distinct, domain
from weightsmith.shapes.solve.forced_lists import ForcedList, forced_lists
from weightsmith.shapes.solve.layer_lists import Effort, Lists, explain_lists
from weightsmith.shapes.solve.presence_search import PresenceSearch
from weightsmith.shapes.solve.propagation import Contradiction
from weightsmith.shapes.solve.shape_variants import fields_of_shapes, variant_choices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.given.roles import Role
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.observations import Observation

MAX_EXPLANATIONS = 4_000
# Settings of the other fields for which the lists that go with them are searched.
MAX_FILLINGS = 300
# Comparisons of an index combination with such lists on one checkpoint, some ten microseconds each; and more of them
# for each combination that has a tensor.
MAX_COMPARED, COMPARED_PER_TENSOR = 50_000, 10
# A head with its bias, and an embedding of either side, are easily stored though tied; a whole second model is
# less likely than a wrong flag.
FEW_COPIES = 4
# Without an exact explanation (a damaged checkpoint), this many fields may differ from what is stated.
MAX_CHANGES = 2
# Index combinations that are looked at for it: some ten microseconds each.
MAX_TESTS = 20_000

Combination: TypeAlias = tuple["Value", ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Fields that conditions tie together, and what they can be.

    explanations: combinations that explain the names exactly, or as well as any tried. exact: they leave
    nothing unexplained. complete: there are no others, up to values that no condition tells apart. odd: per
    explanation, the price of a tied head that is stored. loose: lists that have more explanations than are
    listed.
    """

    fields: tuple[str, ...]
    explanations: tuple[Combination, ...]
    odd: tuple[float, ...]
    exact: bool
    complete: bool
    loose: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Given:
    """What all groups of one checkpoint are explained with, see `decide`. counted: what a loader would take."""

    known: Mapping[str, Value]
    counted: Mapping[str, Value]
    stated: Stated
    candidates: Mapping[str, Sequence[Value]]
    effort: Effort


def decide(
    roles: Sequence[Role],
    observations: Mapping[Observation, int],
    known: Mapping[str, Value],
    stated: Stated,
    candidates: Mapping[str, Sequence[Value]],
    *,
    exactly: bool = False,
) -> tuple[Group, ...]:
    """Explains the presence of every conditional tensor, fields that are not `known` by trying their values.

    roles: the matched patterns, for fields that decide about shapes alone. observations: what was seen, and how
    many roles agree on it. candidates: all values of the fields that equations have narrowed down. exactly:
    raises Contradiction where nothing explains all that was seen.
    """
    decided = (seen for seen in observations if not seen.fields() - set(known))
    if exactly and any(seen.unexplained(known) for seen in decided):
        raise Contradiction
    counted = _as_loaded(stated, known)
    forced = forced_lists(observations, known, counted, stated)
    if exactly and not all(found.exact for found in forced):
        raise Contradiction
    groups = [_group_of(found) for found in forced]
    known = {**known, **{f.field: f.value for f in forced}}
    observations = {seen: roles for seen, roles in observations.items() if not seen.is_settled(known)}
    stored = sum(len(seen.present) for seen in observations)
    effort = Effort(MAX_COMPARED + COMPARED_PER_TENSOR * stored)
    given = _Given(known, counted, stated, candidates, effort)
    for fields, members in _linked(observations, known, stated):
        weighted = {seen: observations[seen] for seen in members}
        groups.append(_explain(fields, weighted, given, exactly=exactly))
    return tuple(_with_shapes(groups, roles, observations, known, counted, stated, candidates))


def _with_shapes(
    groups: Iterable[Group],
    roles: Sequence[Role],
    observations: Iterable[Observation],
    known: Mapping[str, Value],
    counted: Mapping[str, Value],
    stated: Stated,
    candidates: Mapping[str, Sequence[Value]],
) -> Iterator[Group]:
    """The groups, lists left out of which presence says too little; then a group for each field that shapes decide.

    For the parameters, see `decide`; counted: what a loader would take for every field.
    """
    groups, read = list(groups), fields_of_shapes(roles)
    listed = {
        field: [c[group.fields.index(field)] for c in group.explanations]
        for group in groups
        for field in group.loose & read
    }
    groups = [_without(group, group.loose & read) for group in groups]
    yield from groups
    by_presence = frozenset(known).union(*(group.fields for group in groups))
    for field, values, complete in variant_choices(roles, by_presence, counted, stated):
        values = list(candidates.get(field, values))
        if field in listed:  # shapes leave fewer lists, so they come first; then presence decides, too
            values = distinct([*values, *listed[field]])
            values = [v for v in values if _possible(field, v, observations, known)] or listed[field]
        loose = frozenset() if complete or field in candidates else frozenset({field})
        yield Group((field,), tuple((v,) for v in values), (0.0,) * len(values), True, True, loose)


def _group_of(found: ForcedList) -> Group:
    """A list that is decided by itself."""
    loose = frozenset({found.field} if found.loose or not found.exact else ())
    return Group((found.field,), ((found.value,),), (0.0,), found.exact, found.exact, loose)


def _possible(
    field: str, value: Value, observations: Iterable[Observation], known: Mapping[str, Value]
) -> bool:
    """Whether `value` explains every observation that depends on nothing else that is open."""
    values = {**known, field: value}
    concerned = (seen for seen in observations if field in seen.fields() and seen.fields() <= set(values))
    return all(seen.is_explained(values) for seen in concerned)


def _without(group: Group, free: frozenset[str]) -> Group:
    """The group with some lists left free: presence says too little about them, so the shapes decide."""
    if not free:
        return group
    kept = [place for place, field in enumerate(group.fields) if field not in free]
    fewer: dict[Combination, float] = {}
    for combination, odd in zip(group.explanations, group.odd, strict=True):
        fewer.setdefault(tuple(combination[place] for place in kept), odd)
    return Group(
        tuple(group.fields[place] for place in kept),
        tuple(fewer),
        tuple(fewer.values()),
        group.exact,
        group.complete,
        group.loose - free,
    )


def _as_loaded(stated: Stated, known: Mapping[str, Value]) -> dict[str, Value]:
    """What a loader would take for every field, computed defaults following what is known by now."""
    counted = {**stated.completed(), **known}
    for name, field in stated.page.fields.items():
        if name not in known and field.expression is not None and not stated.has(name):
            counted[name] = field.default(counted)
    return counted


def _linked(
    observations: Iterable[Observation], known: Mapping[str, Value], stated: Stated
) -> list[tuple[list[str], list[Observation]]]:
    """Observations grouped by the undecided fields that they share."""
    groups: list[tuple[set[str], list[Observation]]] = []
    for seen in observations:
        fields = {name for name in seen.fields() if name in stated.page.fields and name not in known}
        members, apart = [seen], []
        if not fields:
            continue
        for group in groups:
            if group[0] & fields:
                fields |= group[0]
                members = group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (fields, members)]
    return [(sorted(fields), members) for fields, members in groups]


@dataclass(frozen=True, slots=True)
class _Question:
    """Which values of `fields` explain the presence of tensors.

    lists: those of the fields that are lists, searched by another way than the others. group: what was seen, and how
    many roles agree on it. known: fields that are decided. counted: what a loader would take. asked: what the
    conditions ask of each field.
    """

    fields: Sequence[str]
    lists: Sequence[str]
    group: Mapping[Observation, int]
    known: Mapping[str, Value]
    counted: Mapping[str, Value]
    stated: Stated
    asked: Mapping[str, Reading]
    effort: Effort

    def fillings(self, values: Mapping[str, Value]) -> Lists | None:
        """The ways to fill the lists where the other fields have these values; None when there is none."""
        if not self.lists:
            return Lists(({},), frozenset())
        reading = [seen for seen in self.group if seen.fields() & set(self.lists)]
        known = {**self.known, **values}
        return explain_lists(self.lists, reading, known, self.counted, self.stated, self.asked, self.effort)

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
        whole = {**self.known, **values}
        return sum(
            seen.oddity(whole, any(map(self.stated.has, seen.fields()))) * (3 if roles > FEW_COPIES else 1)
            for seen, roles in self.group.items()
            if seen.copy
        )


def _explain(
    fields: Sequence[str],
    group: Mapping[Observation, int],
    given: _Given,
    *,
    exactly: bool,
) -> Group:
    """What the fields that some conditions tie together can be. For the parameters, see `decide`."""
    known, counted, stated, candidates = given.known, given.counted, given.stated, given.candidates
    asked = readings(condition for seen in group for condition in seen.conditions)
    lists = [field for field in fields if field in asked and asked[field].listed]
    scalars = [field for field in fields if field not in lists]
    domains = {f: _domain(f, stated, asked, group, counted, known, candidates) for f in scalars}
    search = PresenceSearch(domains, tuple(group), known, frozenset(lists))
    found, loose = _found(
        search, _Question(fields, lists, group, known, counted, stated, asked, given.effort)
    )
    if not found and exactly:
        raise Contradiction
    if not found:
        nearest = _nearest(fields, group, known, counted, domains, stated)
        return Group(tuple(fields), (nearest,), (0.0,), False, False, frozenset(lists))
    combinations, odd_prices = zip(*found, strict=True)
    loose |= {
        field
        for place, field in enumerate(fields)
        if field in scalars and field not in candidates and _unbounded(combinations, place, domains[field])
    }
    return Group(tuple(fields), combinations, odd_prices, True, not search.exhausted, frozenset(loose))


def _found(search: PresenceSearch, question: _Question) -> tuple[list[tuple[Combination, float]], set[str]]:
    """(combinations that explain everything, each with its price; lists that have more explanations than these)."""
    found: list[tuple[Combination, float]] = []
    loose: set[str] = set()
    fillings: dict[tuple[object, ...], Lists | None] = {}
    for values in search.exact():
        alike = question.told_apart(values) if question.lists else ()
        if alike not in fillings:
            if len(fillings) == MAX_FILLINGS or (question.lists and question.effort.spent):
                search.exhausted = True
                break
            fillings[alike] = question.fillings(values)
        explained = fillings[alike]
        if explained is None:
            continue
        loose |= explained.loose
        for choice in explained.choices:
            whole = {**values, **choice}
            found.append((tuple(whole[field] for field in question.fields), question.oddity(whole)))
            if len(found) >= MAX_EXPLANATIONS:
                search.exhausted = True
                return found, loose
    return found, loose


def _unbounded(combinations: Sequence[Combination], place: int, tried: Sequence[Value]) -> bool:
    """Whether numbers stand for others that were not tried: all beyond a boundary, or between two of them."""
    numbers = {value for c in combinations if is_number(value := c[place])}
    every = {value for value in tried if is_number(value)}
    gap = next((number for number in range(len(every) + 1) if number not in every), 0)
    return len(numbers) > 1 and (max(numbers) >= gap or max(numbers) == max(every))


def _domain(
    field: str,
    stated: Stated,
    asked: Mapping[str, Reading],
    group: Iterable[Observation],
    counted: Mapping[str, Value],
    known: Mapping[str, Value],
    candidates: Mapping[str, Sequence[Value]],
) -> list[Value]:
    if field in candidates:
        return distinct(candidates[field])
    together = {name for seen in group if field in seen.fields() for name in seen.fields()}
    numbers = [v for n in together if is_number(v := known.get(n))]
    reading = asked.get(field, Reading(counted=True))
    return domain(field, stated.page, reading, group, counted.get(field), numbers)


def _nearest(
    fields: Sequence[str],
    group: Mapping[Observation, int],
    known: Mapping[str, Value],
    counted: Mapping[str, Value],
    domains: Mapping[str, Sequence[Value]],
    stated: Stated,
) -> Combination:
    """The stated values with the one or two changes that leave the fewest tensors unexplained."""
    wrong = _Unexplained(group, known)
    best = {field: counted.get(field) for field in fields}
    least = wrong.count(best), stated.cost(fields, best)
    for _ in range(MAX_CHANGES):
        start = dict(best)
        for field, options in domains.items():
            for value in options:
                if wrong.tests > MAX_TESTS:
                    return tuple(best[field] for field in fields)
                trial = {**start, field: value}
                if (price := (wrong.count(trial), stated.cost(fields, trial))) < least:
                    best, least = trial, price
    return tuple(best[field] for field in fields)


class _Unexplained:
    """Counts the tensors that values leave unexplained. What does not read a changed value is not looked at again.

    tests: index combinations that were looked at so far.
    """

    def __init__(self, group: Mapping[Observation, int], known: Mapping[str, Value]) -> None:
        self.tests = 0
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
            self.tests += len(seen.looked_at)
            self._counts[key] = weight * seen.unexplained(values)
        return self._counts[key]
