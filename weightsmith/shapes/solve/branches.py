"""Shapes that depend on flags: every way that the flags could be, solved on its own, and the solutions compared.

A flag that two shapes of a tensor leave open makes two sets of equations. What the weights prove is what
follows from every set that has a solution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice, product
from typing import TYPE_CHECKING

from weightsmith.shapes.given.list_entries import assembled
from weightsmith.shapes.page.expression import parse_condition
from weightsmith.shapes.page.predict import active_variant
from weightsmith.shapes.solve.budget import BUDGET
from weightsmith.shapes.solve.choice import ranked
from weightsmith.shapes.solve.equations import chosen_facts, solve_facts
from weightsmith.shapes.solve.list_numbers import with_list_numbers
from weightsmith.shapes.solve.propagation import Contradiction
from weightsmith.shapes.solve.ratios import with_ratios
from weightsmith.shapes.solve.relation import Relation, Row, agreed, certain, joined
from weightsmith.shapes.solve.rule_repair import broken_rules, with_rules_kept
from weightsmith.shapes.solve.solution import Decided, Solution, complete, over_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Set

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.given.roles import Role
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.equations import Fact


@dataclass(frozen=True, slots=True)
class _Branch:
    """settings: one set of flags that stands for its kind. relations: what was said, cut down to that kind."""

    settings: Mapping[str, Value]
    relations: tuple[Relation, ...]


def solve_branches(
    roles: Sequence[Role],
    facts: Sequence[Fact],
    base: Mapping[str, Value],
    relations: Sequence[Relation],
    stated: Stated,
    explains: Callable[[Mapping[str, Value]], bool],
    *,
    exactly: bool = False,
) -> Solution:
    """The best solution over all branches.

    facts: the equations that hold whatever the flags are; base: what follows from them. relations: what presence and
    lists say. explains: whether a config predicts every tensor, which rounded equations leave open. exactly: raises
    Contradiction where no solution explains everything, instead of giving the nearest one.
    """
    branches = list(islice(_branches(roles, relations, base, stated), BUDGET.branches + 1))
    unfinished = f"more than {BUDGET.branches} ways to read the shapes" if branches[BUDGET.branches :] else ""
    tried = (_solved(branch, roles, facts, stated, strict=True) for branch in branches[: BUDGET.branches])
    solutions = [solution for solution in tried if solution is not None]
    if not solutions and exactly:
        raise Contradiction
    if not solutions:
        found = _solved(branches[0], roles, facts, stated, strict=False)
        return found or _settled(branches[0], facts, stated, strict=False)
    # What the reference implementation refuses is no reading of the weights while there is another one.
    valid = [solution for solution in solutions if not solution.broken]
    solutions = sorted(valid or solutions, key=lambda solution: solution.cost)
    best = solutions[0]
    if len(solutions) > 1 or any(relation.open_fields for relation in relations):
        best = _cheapest_proven(solutions, explains, stated) or best
    # Where a flag was turned in the best one, it stands beside what it was made of.
    others = [solution for solution in solutions if solution.decided is not best.decided]
    return over_all(best, others, unfinished, base) if others or unfinished else best


def _cheapest_proven(
    solutions: Sequence[Solution], explains: Callable[[Mapping[str, Value]], bool], stated: Stated
) -> Solution | None:
    """The cheapest solution that explains everything, as it is or with one flag turned. solutions: cheapest first."""
    best: Solution | None = None
    for place, solution in enumerate(solutions):
        if best is not None and best.cost <= solution.cost:
            break
        proven: Solution | None = solution
        if not explains(solution.values):
            proven = _with_flag_turned(solution, explains, stated) if place < BUDGET.turned else None
        if proven is not None and (best is None or proven.cost < best.cost):
            best = replace(proven, proven=True)
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
            cost = stated.cost([name], turned) - stated.cost([name], solution.values)
            fields, row = solution.partners(name) | {name}, Row({name: not value})
            only = Relation("forward check", fields, (row,), "turned until everything was explained")
            return solution.deciding(only, fields=[name], cost=cost)
    return None


def _solved(
    branch: _Branch, roles: Sequence[Role], facts: Sequence[Fact], stated: Stated, *, strict: bool
) -> Solution | None:
    """None where the equations of the branch contradict each other."""
    more = chosen_facts(roles, branch.settings)
    if more is None and strict:
        return None
    try:
        return _settled(branch, [*facts, *(more or ())], stated, strict=strict and bool(more))
    except Contradiction:
        return None


def _branches(
    roles: Sequence[Role], relations: Sequence[Relation], base: Mapping[str, Value], stated: Stated
) -> Iterator[_Branch]:
    """One per way in which tensors can take one of several shapes."""
    several = [role for role in roles if role.tensors and len(role.pattern.variants) > 1]
    # One relation's flag may matter only by another relation's count.
    completed = {**stated.completed(), **base, **agreed(relations)}
    for picked in product(*(_kinds(relation, several, completed) for relation in relations)):
        settings = {k: v for part in picked for row in part.rows[:1] for k, v in row.values.items()}
        yield _Branch({**completed, **settings}, picked)


def _kinds(relation: Relation, several: Sequence[Role], completed: Mapping[str, Value]) -> list[Relation]:
    """The rows that give every tensor the same shapes, together."""
    concerned = [role for role in several if _reads(role, relation.fields)]
    if not concerned or not relation.rows:
        return [relation]
    return relation.parts(lambda row: _signature(concerned, {**completed, **row}))


def _reads(role: Role, fields: Set[str]) -> bool:
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


def _settled(branch: _Branch, facts: Sequence[Fact], stated: Stated, *, strict: bool) -> Solution:
    """Takes the cheapest row of every relation that is still open. Raises Contradiction (strict only)."""
    numbers = {name: v for name, v in certain(branch.relations).items() if isinstance(v, int)}
    hints = {**stated.completed(), **branch.settings}
    said = (*solve_facts(facts, stated.page, numbers, hints, strict=strict), *branch.relations)
    solution = _joined(Solution({}, {}, facts, said=said), stated, strict=strict)
    for name, (items, is_certain) in assembled(solution.values, solution.forced, stated).items():
        gap = "" if is_certain else "no tensor depends on some of its items"
        solution = solution.deciding(Relation.of("lists", {name: items}, gap))
    solution = with_ratios(solution, stated)
    broken = broken_rules(stated.page, solution.values)
    solution = replace(solution, values=complete(stated, solution.values), broken=broken)
    solution = with_rules_kept(with_list_numbers(solution, stated), stated)
    return replace(solution, cost=solution.cost + stated.list_cost(solution.values))


def _joined(solution: Solution, stated: Stated, *, strict: bool) -> Solution:
    """What the witnesses say, relation by relation, joined where they share fields, and the cheapest row of each."""
    known = certain(solution.said)
    columns = {name: Relation.of("", {name: value}) for name, value in known.items()}
    decided = {name: Decided(column, column) for name, column in columns.items()}
    solution = replace(solution, values=known, decided=decided)
    cost = stated.cost(known, known)
    left = []
    for relation in (said.given(known) for said in solution.said):
        if relation.contradictory and strict:
            raise Contradiction
        if relation.fields:
            left.append(relation)
        else:  # what is decided already has its price all the same
            cost += min((row.price for row in relation.rows), default=0.0)
    solution = replace(solution, cost=cost)
    ties = [rule.names for rule in stated.page.rules]
    ties += [length.fields() for length in stated.page.lists.values()]
    for relation in _defaults_first(joined(left, ties, BUDGET.rows), stated.page):
        if relation.contradictory and strict:
            raise Contradiction
        every, cheapest = ranked(relation, solution.values, stated)
        row = cheapest.rows[0] if cheapest.rows else Row({})
        price = stated.cost(relation.fields, {**solution.values, **row.values}) + row.price
        solution = solution.deciding(every, cheapest, cost=price)
    return solution


def _defaults_first(relations: Sequence[Relation], page: Page) -> list[Relation]:
    """In an order in which a field is decided after those of which its class default is made."""
    made_of = {
        id(relation): {name for field in relation.fields for name in _default_names(field, page)}
        for relation in relations
    }
    left, ordered = list(relations), list[Relation]()
    while left:
        later = {id(r): frozenset().union(*(other.fields for other in left if other is not r)) for r in left}
        following = next((r for r in left if made_of[id(r)].isdisjoint(later[id(r)])), left[0])
        left.remove(following)
        ordered.append(following)
    return ordered


def _default_names(field: str, page: Page) -> frozenset[str]:
    """The fields of which the class makes the default of one."""
    own = page.fields.get(field)
    return parse_condition(own.expression).names if own and own.expression else frozenset()
