"""Shapes that depend on flags: every way that the flags could be, solved on its own, and the solutions compared.

A flag that two shapes of a tensor leave open makes two sets of equations. What the weights prove is what
follows from every set that has a solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING

from weightsmith.shapes.given.list_entries import assemble
from weightsmith.shapes.page.predict import active_variant
from weightsmith.shapes.solve.candidate_values import distinct
from weightsmith.shapes.solve.equations import chosen_facts, solve_facts
from weightsmith.shapes.solve.list_numbers import settle_list_numbers
from weightsmith.shapes.solve.presence import Group
from weightsmith.shapes.solve.propagation import Contradiction
from weightsmith.shapes.solve.ratios import settle_ratios
from weightsmith.shapes.solve.relations import Pool, choose, from_component, from_group, join
from weightsmith.shapes.solve.rule_repair import broken_rules, repair_by_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.given.roles import Role
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.equations import Fact

# Sets of equations that are tried; beyond it nothing is claimed of the fields that they share.
MAX_SCENARIOS = 64
# Answers, the cheapest first, in which flags are turned when they do not explain everything.
MAX_TURNED = 8


@dataclass(frozen=True, slots=True)
class Solution:
    """The config that explains the weights at the least cost, and how certain each field of it is.

    values: every field of the page. options: per field all values that explain the weights, empty when they
    could not all be found; a field without an entry is one that no equation of these weights mentions.
    cheapest: what is left of the options when as much of the stated config as possible is kept. partners: per
    field, the others that it was decided together with. cost: the corrections that the stated config needs.
    broken: rules of the family that contradict what the weights say.
    """

    values: Mapping[str, Value]
    options: Mapping[str, tuple[Value, ...]]
    cheapest: Mapping[str, tuple[Value, ...]]
    partners: Mapping[str, frozenset[str]]
    cost: float
    broken: int = 0


@dataclass(frozen=True, slots=True)
class _Scenario:
    """settings: one set of flags that stands for its kind. groups: the groups, cut down to that kind."""

    settings: Mapping[str, Value]
    groups: tuple[Group, ...]


def explain(
    roles: Sequence[Role],
    facts: Sequence[Fact],
    base: Mapping[str, Value],
    groups: Sequence[Group],
    stated: Stated,
    explains: Callable[[Mapping[str, Value]], bool],
    *,
    exactly: bool = False,
) -> tuple[Solution, list[Fact]]:
    """The best solution over all scenarios, and the facts that it rests on.

    facts: the equations that hold whatever the flags are; base: what follows from them. explains: whether a config
    predicts every tensor, which rounded equations leave open. exactly: raises Contradiction where no solution
    explains everything, instead of giving the nearest one.
    """
    scenarios = list(islice(_scenarios(roles, groups, base, stated), MAX_SCENARIOS + 1))
    solutions: list[tuple[Solution, list[Fact]]] = []
    for scenario in scenarios[:MAX_SCENARIOS]:
        found = _solve_scenario(scenario, roles, facts, stated, strict=True)
        if found is not None:
            solutions.append(found)
    if not solutions and exactly:
        raise Contradiction
    if not solutions:
        found = _solve_scenario(scenarios[0], roles, facts, stated, strict=False)
        return found or (_settle(scenarios[0], list(facts), stated, strict=False), list(facts))
    # What the reference implementation refuses is no reading of the weights while there is another one.
    valid = [pair for pair in solutions if not pair[0].broken]
    solutions = sorted(valid or solutions, key=lambda pair: pair[0].cost)
    best, its_facts = solutions[0]
    if len(solutions) > 1 or any(group.loose for group in groups):
        best, its_facts = _cheapest_proven(solutions, explains, stated) or solutions[0]
        solutions = [(best, its_facts), *(pair for pair in solutions if pair[0] is not best)]
    if len(solutions) == 1 and len(scenarios) <= MAX_SCENARIOS:
        return best, its_facts
    return _over_all_scenarios(
        best, [a for a, _ in solutions], len(scenarios) <= MAX_SCENARIOS, base
    ), its_facts


def _cheapest_proven(
    solutions: Sequence[tuple[Solution, list[Fact]]],
    explains: Callable[[Mapping[str, Value]], bool],
    stated: Stated,
) -> tuple[Solution, list[Fact]] | None:
    """The cheapest solution that explains everything, as it is or with one flag turned. solutions: cheapest first."""
    best: tuple[Solution, list[Fact]] | None = None
    for place, (solution, facts) in enumerate(solutions):
        if best is not None and best[0].cost <= solution.cost:
            break
        proven: Solution | None = solution
        if not explains(solution.values):
            proven = _with_flag_turned(solution, explains, stated) if place < MAX_TURNED else None
        if proven is not None and (best is None or proven.cost < best[0].cost):
            best = proven, facts
    return best


def _with_flag_turned(
    solution: Solution, explains: Callable[[Mapping[str, Value]], bool], stated: Stated
) -> Solution | None:
    """The solution with the one flag turned that makes it explain everything.

    A list that shapes decide is left to them, and what presence says of it together with a flag is then only proven.
    """
    for name, value in solution.values.items():
        if name not in stated.page.fields or not isinstance(value, bool):
            continue
        turned = {**solution.values, name: not value}
        if explains(turned):
            options, cheapest = {**solution.options, name: ()}, {**solution.cheapest, name: (not value,)}
            cost = solution.cost + stated.cost([name], turned) - stated.cost([name], solution.values)
            return Solution(turned, options, cheapest, solution.partners, cost, solution.broken)
    return None


def _solve_scenario(
    scenario: _Scenario, roles: Sequence[Role], facts: Sequence[Fact], stated: Stated, *, strict: bool
) -> tuple[Solution, list[Fact]] | None:
    """None when its equations contradict each other."""
    more = chosen_facts(roles, scenario.settings)
    if more is None and strict:
        return None
    whole = [*facts, *(more or ())]
    try:
        return _settle(scenario, whole, stated, strict=strict and bool(more)), whole
    except Contradiction:
        return None


def _scenarios(
    roles: Sequence[Role], groups: Sequence[Group], base: Mapping[str, Value], stated: Stated
) -> Iterator[_Scenario]:
    """One per way in which tensors can take one of several shapes."""
    several = [role for role in roles if role.tensors and len(role.pattern.variants) > 1]
    read = {n for role in several for v in role.pattern.variants if v.condition for n in v.condition.names}
    parts: list[list[tuple[Mapping[str, Value], Group]]] = []
    completed = {**stated.completed(), **base, **_agreed(groups)}
    for group in groups:
        if not read & set(group.fields):
            first = dict(zip(group.fields, group.explanations[0], strict=True))
            parts.append([(first, group)])
            continue
        concerned = [r for r in several if _reads(r, set(group.fields))]
        kinds: dict[object, list[int]] = {}
        for number, combination in enumerate(group.explanations):
            settings = dict(zip(group.fields, combination, strict=True))
            kinds.setdefault(_signature(concerned, {**completed, **settings}), []).append(number)
        parts.append(
            [
                (dict(zip(group.fields, group.explanations[n[0]], strict=True)), _restricted(group, n))
                for n in kinds.values()
            ]
        )
    for picked in product(*parts):
        settings = {k: v for values, _ in picked for k, v in values.items()}
        yield _Scenario({**completed, **settings}, tuple(group for _, group in picked))


def _agreed(groups: Sequence[Group]) -> dict[str, Value]:
    """What all explanations of a group say alike: one group's flag may matter only by another group's count."""
    found: dict[str, Value] = {}
    for group in groups:
        for place, field in enumerate(group.fields):
            values = distinct(combination[place] for combination in group.explanations)
            if len(values) == 1:
                found[field] = values[0]
    return found


def _reads(role: Role, fields: set[str]) -> bool:
    return any(v.condition is not None and v.condition.names & fields for v in role.pattern.variants)


def _signature(roles: Sequence[Role], settings: Mapping[str, Value]) -> object:
    """Which of its shapes each tensor takes."""
    taken = []
    for role in roles:
        slots = [s.name for s in role.pattern.slots]
        read = [i for i, name in enumerate(slots) if _reads(role, {name})]
        seen: dict[tuple[int, ...], int] = {}
        for indices in role.tensors:
            key = tuple(indices[i] for i in read)
            if key not in seen:
                variant = active_variant(role.pattern, indices, settings)
                seen[key] = -1 if variant is None else role.pattern.variants.index(variant)
        taken.append(tuple(sorted(seen.items())))
    return tuple(taken)


def _restricted(group: Group, numbers: Sequence[int]) -> Group:
    return Group(
        group.fields,
        tuple(group.explanations[n] for n in numbers),
        tuple(group.odd[n] for n in numbers),
        group.exact,
        group.complete,
        group.loose,
    )


def _settle(scenario: _Scenario, facts: Sequence[Fact], stated: Stated, *, strict: bool) -> Solution:
    """Takes the cheapest solution of every pool that is still open. Raises Contradiction (strict only)."""
    certain = _certain(scenario.groups)
    hints = {**stated.completed(), **scenario.settings}
    solved = solve_facts(facts, stated.page, certain, hints, strict=strict)
    values: dict[str, Value] = dict(solved.known)
    options: dict[str, tuple[Value, ...]] = {name: (value,) for name, value in solved.known.items()}
    cheapest = dict(options)
    partners: dict[str, frozenset[str]] = {}
    cost = stated.cost(values, values)
    pools: list[Pool] = [from_component(component) for component in solved.components]
    for group in scenario.groups:
        pool = from_group(group, values)
        if not pool.ways and group.exact and strict:
            raise Contradiction
        if pool.fields:
            pools.append(pool)
        else:  # what is decided already has its price all the same
            cost += min((way.odd for way in pool.ways), default=0.0)
    for pool in join(pools, stated):
        if not pool.ways and pool.complete and strict:
            raise Contradiction
        decision = choose(pool, values, stated)
        options.update(decision.options)
        cheapest.update(decision.cheapest)
        partners.update((field, pool.fields - {field}) for field in pool.fields)
        values.update(decision.way.values)
        cost += stated.cost(pool.fields, values) + decision.way.odd
    assemble(values, options, stated)
    cheapest.update((name, (values[name],)) for name in options if name not in cheapest)
    settled = settle_ratios(facts, values, options, cheapest, stated)
    cost += stated.cost(settled, values)
    broken = broken_rules(stated.page, values)
    values = complete(stated, values)
    settle_list_numbers(values, options, cheapest, stated)
    repair_by_rules(values, options, cheapest, stated)
    return Solution(values, options, cheapest, partners, cost + stated.list_cost(values), broken)


def _certain(groups: Sequence[Group]) -> dict[str, int]:
    """Numbers that all explanations of a group agree on: the equations may build on them."""
    agreed = _agreed([group for group in groups if group.exact and group.complete])
    return {field: value for field, value in agreed.items() if isinstance(value, int)}


def complete(stated: Stated, values: Mapping[str, Value]) -> dict[str, Value]:
    """Fields that the weights say nothing of keep what is stated, else their class default."""
    page, whole = stated.page, dict(values)
    for _ in range(3):  # a default may be computed from another default
        for name in [*page.fields, *page.unverifiable]:
            if name not in values and whole.get(name) is None:  # None may be what the weights say
                whole[name] = stated.assumed(name, whole)
    for name, computed in page.computed.items():
        guard = computed.when_configured
        if stated.no_file or guard is None or stated.has(guard):
            whole[name] = computed.value.at(whole)
    return whole


def _over_all_scenarios(
    best: Solution, solutions: Sequence[Solution], all_tried: bool, base: Mapping[str, Value]
) -> Solution:
    """The best solution with the options of all: a field is certain only if every scenario says the same."""
    options: dict[str, tuple[Value, ...]] = {}
    for field in dict.fromkeys(name for solution in solutions for name in solution.options):
        lists = [solution.options.get(field, ()) for solution in solutions]
        known = all(lists) and (all_tried or field in base)
        options[field] = tuple(distinct(v for values in lists for v in values)) if known else ()
    cheapest = {field: best.cheapest.get(field, ()) for field in options}
    tied = [a for a in solutions if a.cost == best.cost]
    for field in cheapest:
        cheapest[field] = tuple(distinct(v for a in tied for v in a.cheapest.get(field, ())))
    return Solution(best.values, options, cheapest, best.partners, best.cost, best.broken)
