"""The first witness at work: one family page against one table of tensors.

Backwards: names give the layer counts and flags, shapes give equations, the solver gives every config that
explains them, and the smallest correction of the stated config is taken. Then forwards, as the proof: the
chosen config must predict exactly the names and shapes that are there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.given.draft_layers import is_buffer
from weightsmith.shapes.given.list_entries import whole_lists
from weightsmith.shapes.given.roles import match
from weightsmith.shapes.page.field_names import owner_of
from weightsmith.shapes.page.layouts import written_as
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.page.predict import active_variant, predict, slot_size
from weightsmith.shapes.solve.branches import solve_branches
from weightsmith.shapes.solve.check import PERFECT, Explaining, Misfit, prove
from weightsmith.shapes.solve.equations import TensorEvidence, count_facts, plain_facts, solve_facts
from weightsmith.shapes.solve.observations import observe
from weightsmith.shapes.solve.presence import decide
from weightsmith.shapes.solve.propagation import Contradiction
from weightsmith.shapes.solve.relation import certain
from weightsmith.shapes.solve.solution import Solution

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.shapes.given.roles import Matching, NameTable, Role
    from weightsmith.shapes.given.ties import Copies
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.pattern import TensorPattern
    from weightsmith.shapes.page.spellings import Spelling
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.equations import Fact

# Fewer tensors of its own than this for each that is not: the checkpoint is not of this family.
OWN_FOR_EACH_EXTRA = 10

__all__ = ["Fit", "Misfit", "Solution", "TensorEvidence", "fit"]


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a page explains a checkpoint.

    empty_roles: parts of the page that these weights do not have; unusual: those of them that the class's own
    defaults would have. A page with many optional parts contains poorer families, so of two pages that explain
    the weights the one with fewer of these is meant. spelling: how the names on disk were read, None as they are.
    stated: what it was fitted beside.
    """

    page: Page
    layout: str
    spelling: Spelling | None
    stated: Stated
    solution: Solution
    evidence: Mapping[str, tuple[TensorEvidence, ...]]
    absent_roles: tuple[str, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    misfits: tuple[Misfit, ...]
    matched: int
    empty_roles: int
    unusual: int

    @property
    def explains(self) -> bool:
        """Every tensor is predicted, and every predicted tensor is there."""
        return not (self.missing or self.unmatched or self.misfits)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The classes that have these tensors: a layout that not all classes of the page share is called by its own."""
        own = written_as(self.layout)
        return (own,) if own in self.page.architectures else self.page.architectures

    @property
    def absent_head(self) -> tuple[str, ...]:
        """What lies beside the body of the whole model, where the body was saved alone."""
        if self.spelling is None or not self.spelling.stem:
            return ()
        patterns = self.page.layouts[self.layout]
        beside = (p for p in patterns if p.required and not p.text.startswith(self.spelling.stem))
        return tuple(predict(tuple(beside), self.solution.values))

    @property
    def plausible(self) -> bool:
        """Not perfect, but surely this family: holes and extras, no wrong shape, no role that is missing whole.

        Names that are not the family's may be fewer than its own: a tenth as many as there are of these.
        """
        extras = OWN_FOR_EACH_EXTRA * len(self.unmatched) <= self.matched
        return extras and not self.misfits and not self.absent_roles

    @property
    def distance(self) -> tuple[int, float]:
        """What is left unexplained, then how much of the stated config had to give way."""
        return len(self.missing) + len(self.unmatched) + len(self.misfits), self.solution.cost


def fit(
    page: Page,
    layout: str,
    table: NameTable,
    stated: Stated,
    shared: Copies,
    *,
    exactly: bool = False,
    spelling: Spelling | None = None,
) -> Fit | None:
    """The best explanation that `page` has for the tensors of `table`.

    shared: what the bytes tell about tied tensors. exactly: None, and soon, where the page cannot explain
    every tensor; otherwise always a Fit. spelling: how the names are read; of a body that was saved alone nothing
    else is expected.
    """
    matching = matched(page, layout, table, spelling)
    unmatched = (tensor for tensor in matching.unmatched if not _expected_leftover(tensor.name, page))
    if exactly and next(unmatched, None) is not None:
        return None
    matching = replace(matching, unmatched=tuple(unmatched))
    try:
        solution = _solve_backwards(page, matching, stated, shared, exactly=exactly)
    except Contradiction:
        return None
    found = _checked_forwards(layout, spelling, matching, stated, solution, exactly=exactly)
    return found if found.explains or not exactly else None


def matched(page: Page, layout: str, table: NameTable, spelling: Spelling | None) -> Matching:
    """The tensors in the roles of one layout, their names read as `spelling` says."""
    patterns = page.layouts[layout]
    if spelling is None:
        return match(patterns, table)
    return match((p for p in patterns if p.text.startswith(spelling.stem)), table.read(spelling))


def _solve_backwards(
    page: Page, matching: Matching, stated: Stated, shared: Copies, *, exactly: bool
) -> Solution:
    """The solution from counts, sizes, presence and flags, in this order.

    Raises Contradiction (exactly only) where nothing explains every tensor.
    """
    counts = list(count_facts(matching.roles))
    facts = counts + list(plain_facts(matching.roles))
    solved = solve_facts(facts, page, hints=stated.completed(), strict=exactly)
    known = certain(solved)
    known |= whole_lists(known)
    counted = {**stated.completed(), **known}
    sizes = {fact.polynomial: fact.size for fact in counts}
    observations = observe(matching.roles, sizes, counted, known, shared, there_is_a_file=not stated.no_file)
    narrowed = {name: found.told(name) for found in solved for name in found.fields - known.keys()}
    narrowed = {name: values for name, values in narrowed.items() if values}
    relations = decide(matching.roles, observations, known, stated, narrowed, exactly=exactly)
    return solve_branches(
        matching.roles, facts, known, relations, stated, Explaining(matching), exactly=exactly
    )


def _checked_forwards(
    layout: str,
    spelling: Spelling | None,
    matching: Matching,
    stated: Stated,
    solution: Solution,
    *,
    exactly: bool,
) -> Fit:
    """What the solution predicts, compared with what is there; with `exactly`, up to the first difference."""
    page = stated.page
    proof = PERFECT if solution.proven else prove(matching, solution.values, at_most=1 if exactly else None)
    missing = set(proof.missing)
    absent = [r.pattern for r in matching.roles if r.pattern.slots and not r.tensors]
    empty = [r.pattern for r in matching.roles if r.pattern.required and not (r.tensors or r.pattern.copy_of)]
    defaults = Stated(None, page).completed()
    left = tuple(name for name in proof.unmatched if not _expected_leftover(name, page))
    return Fit(
        page=page,
        layout=layout,
        spelling=spelling,
        stated=stated,
        solution=solution,
        evidence=_evidence(solution.facts, matching.roles, page),
        absent_roles=tuple(
            p.text for p in absent if p.name((0,) * len(p.slots)) in missing or _layerless(p, solution.values)
        ),
        missing=tuple(map(spelling.write, proof.missing)) if spelling else proof.missing,
        unmatched=left,
        misfits=proof.misfits,
        matched=sum(len(role.tensors) for role in matching.roles),
        empty_roles=len(empty),
        unusual=sum(by_default(pattern, defaults) for pattern in empty),
    )


def _layerless(pattern: TensorPattern, values: Mapping[str, Value]) -> bool:
    """Whether a part that every layer of the family has would be absent only because there are no layers at all."""
    always = pattern.required and any(variant.condition is None for variant in pattern.variants)
    return always and len(pattern.slots) == 1 and slot_size(pattern, 0, values) == 0


def by_default(pattern: TensorPattern, defaults: Mapping[str, Value]) -> bool:
    """Whether a config of class defaults has such tensors, at the first or the last of its indices."""
    tops = tuple(slot_size(pattern, place, defaults) - 1 for place in range(len(pattern.slots)))
    if any(top < 0 for top in tops):
        return False
    corners = {(0,) * len(tops), tops}
    return any(active_variant(pattern, corner, defaults) is not None for corner in corners)


def _expected_leftover(name: str, page: Page) -> bool:
    """What loaders skip; and what the page says it cannot express: the family's own, though no equation explains it."""
    return is_buffer(name) or (bool(page.unexpressed) and name_key(name) in page.unexpressed)


def _evidence(
    facts: Iterable[Fact], roles: Iterable[Role], page: Page
) -> dict[str, tuple[TensorEvidence, ...]]:
    """Per field, one tensor for each different equation that mentions it."""
    found: dict[str, dict[str, TensorEvidence]] = {}
    for fact in facts:
        for field in {owner_of(name) for name in fact.polynomial.fields()}:
            found.setdefault(field, {}).setdefault(fact.evidence.equation, fact.evidence)
    for role in roles:
        for condition in (v.condition for v in role.pattern.variants if v.condition):
            first = next(iter(role.tensors.values()), None)
            name = first.name if first else role.pattern.name((0,) * len(role.pattern.slots))
            state = "present" if first else "absent"
            for field in condition.names & set(page.fields):
                evidence = TensorEvidence(name, None, None, f"{state}; exists if {condition.text}")
                found.setdefault(field, {}).setdefault(evidence.equation, evidence)
    return {field: tuple(by_equation.values()) for field, by_equation in found.items()}
