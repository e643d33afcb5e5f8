"""The first witness at work: one family page against one table of tensors.

Backwards: names give the layer counts and flags, shapes give equations, the solver gives every config that
explains them, and the smallest correction of the stated config is taken. Then forwards, as the proof: the
chosen config must predict exactly the names and shapes that are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.facts import Evidence, count_facts, plain_facts, solve_facts
from weightsmith.shapes.forwards import Misfit, prove
from weightsmith.shapes.matching import match
from weightsmith.shapes.observations import observe
from weightsmith.shapes.scenarios import Answer, explain
from weightsmith.shapes.stated import owner_of
from weightsmith.shapes.structure import decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.shapes.expression import Value
    from weightsmith.shapes.facts import Fact
    from weightsmith.shapes.matching import NameTable, Role
    from weightsmith.shapes.page import Page
    from weightsmith.shapes.solver import Component
    from weightsmith.shapes.stated import Stated

__all__ = ["Answer", "Evidence", "Fit", "Misfit", "fit"]


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a page explains a checkpoint.

    empty_roles: parts of the page that these weights do not have. A page with many optional parts contains
    poorer families, so of two pages that explain the weights the one with fewer empty roles is meant.
    """

    page: Page
    layout: str
    answer: Answer
    evidence: Mapping[str, tuple[Evidence, ...]]
    absent_roles: tuple[str, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    misfits: tuple[Misfit, ...]
    matched: int
    empty_roles: int

    @property
    def explains(self) -> bool:
        """Every tensor is predicted, and every predicted tensor is there."""
        return not (self.missing or self.unmatched or self.misfits)

    @property
    def plausible(self) -> bool:
        """Not perfect, but surely this family: holes and extras, no wrong shape, no role that is missing whole."""
        extras = len(self.unmatched) <= self.matched
        return extras and not self.misfits and not self.absent_roles

    @property
    def distance(self) -> tuple[int, float]:
        """What is left unexplained, then how much of the stated config had to give way."""
        return len(self.missing) + len(self.unmatched) + len(self.misfits), self.answer.cost


def fit(page: Page, layout: str, table: NameTable, stated: Stated, shared: frozenset[str]) -> Fit:
    """The best explanation that `page` has for the tensors of `table`; `shared`: names that share their bytes."""
    matching = match(page.layouts[layout], table)
    counts = list(count_facts(matching.roles))
    facts = counts + list(plain_facts(matching.roles))
    solved = solve_facts(facts, page, hints=stated.completed())
    sizes = {fact.polynomial: fact.size for fact in counts}
    counted = {**stated.completed(), **solved.known}
    observations = observe(matching.roles, sizes, counted, solved.known, shared)
    groups = decide(observations, solved.known, stated, _narrowed(solved.components))
    answer, facts = explain(matching.roles, facts, groups, stated)
    proof = prove(matching, answer.values)
    missing_set = set(proof.missing)
    absent = (r.pattern for r in matching.roles if r.pattern.slots and not r.tensors)
    absent_roles = tuple(p.text for p in absent if p.name((0,) * len(p.slots)) in missing_set)
    return Fit(
        page=page,
        layout=layout,
        answer=answer,
        evidence=_evidence(facts, matching.roles, page),
        absent_roles=absent_roles,
        missing=proof.missing,
        unmatched=proof.unmatched,
        misfits=proof.misfits,
        matched=table.size - len(matching.unmatched),
        empty_roles=sum(
            r.pattern.required and not r.tensors and not r.pattern.copy_of for r in matching.roles
        ),
    )


def _narrowed(components: Iterable[Component]) -> dict[str, tuple[Value, ...]]:
    """Fields that the equations leave open, with all values that they allow."""
    found: dict[str, tuple[Value, ...]] = {}
    for component in components:
        for field in component.fields if component.complete else ():
            found[field] = tuple(dict.fromkeys(s[field] for s in component.solutions))
    return found


def _evidence(facts: Iterable[Fact], roles: Iterable[Role], page: Page) -> dict[str, tuple[Evidence, ...]]:
    """Per field, one tensor for each different equation that mentions it."""
    found: dict[str, dict[str, Evidence]] = {}
    for fact in facts:
        for field in {owner_of(name) for name in fact.polynomial.fields()}:
            found.setdefault(field, {}).setdefault(fact.evidence.equation, fact.evidence)
    for role in roles:
        for condition in (v.condition for v in role.pattern.variants if v.condition):
            first = next(iter(role.tensors.values()), None)
            name = first.name if first else role.pattern.name((0,) * len(role.pattern.slots))
            state = "present" if first else "absent"
            for field in condition.names & set(page.fields):
                evidence = Evidence(name, None, None, f"{state}; exists if {condition.text}")
                found.setdefault(field, {}).setdefault(evidence.equation, evidence)
    return {field: tuple(by_equation.values()) for field, by_equation in found.items()}
