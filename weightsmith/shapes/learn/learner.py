"""Learns one family's page: probe, fit, try to refute with random configs, fit again, and prove on fresh ones."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from weightsmith.shapes.learn.assemble import Learned, assemble, defaults_of_class
from weightsmith.shapes.learn.base import is_field, start
from weightsmith.shapes.learn.drawing import draw, overshoot
from weightsmith.shapes.learn.fitter import Fitter, Unexpressed
from weightsmith.shapes.learn.hints import quotients, words
from weightsmith.shapes.learn.lab import names
from weightsmith.shapes.learn.nulls import null_rules
from weightsmith.shapes.learn.prove import contradictions
from weightsmith.shapes.learn.rules import grouping_rules, learn_rules, positive_rules, quotient_rules
from weightsmith.shapes.learn.sightings import Role, Roles, Sighting
from weightsmith.shapes.learn.survey import Survey, survey
from weightsmith.shapes.learn.trials import challenge, probe_refused, share_rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.expression import Polynomial, Value
    from weightsmith.shapes.learn.fitter import Equation
    from weightsmith.shapes.learn.lab import Observation

_FIRST_DRAWS = 24
_ROUND_DRAWS = 12
_ROUNDS = 6
# Rules that a build refutes give way to others, this often.
_TRIALS = 4
# What refutes a page in its proof is learned from, and the page is proven again on other configs.
_ATTEMPTS = 3
# A page stands when it reproduces this many configs that it has never seen.
PROOFS = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """page: None when nothing trustworthy was learned; reason says why. unexpressed: how many roles and fields."""

    model_type: str
    page: dict[str, Any] | None
    reason: str
    seconds: float
    builds: int
    proofs: int = 0
    contradicted: bool = False


@dataclass(slots=True)
class _Work:
    """What grows from round to round."""

    found: Survey
    roles: dict[str, Roles]
    rng: random.Random = field(default_factory=lambda: random.Random(20))
    sighted: dict[tuple[str, int], Sighting] = field(default_factory=dict)
    nulls: dict[str, Polynomial] = field(default_factory=dict)
    failed: dict[tuple[str, Role], tuple[object, str]] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    found_before: dict[tuple[str, Role], Equation] = field(default_factory=dict)

    def sightings(self, architecture: str, observations: Sequence[Observation]) -> list[Sighting]:
        found = []
        for observation in observations:
            key = architecture, id(observation)
            if key not in self.sighted:
                self.sighted[key] = self.roles[architecture].sight(observation, architecture)
            found.append(self.sighted[key])
        return found


def learn(model_type: str, seconds: float = 300.0, only: tuple[str, ...] = ()) -> Outcome:
    """The page of a type that transformers has. Raises Rejected when no config of it can be built."""
    started = time.monotonic()
    lab, base = start(model_type, only)
    lab.deadline = time.process_time() + seconds
    hints: dict[str, tuple[str, ...]] = {}
    for architecture in lab.architectures:
        hints |= words(architecture)
    found = survey(lab, base, hints)
    probe_refused(found)
    work = _Work(found, {a: Roles.learned(lab.observations, a) for a in lab.architectures})
    for i in range(_FIRST_DRAWS):
        draw(found, work.rng, structure_only=i % 2 == 0)
    overshoot(found, work.rng)
    defaults = {**lab.hidden, **defaults_of_class(model_type)}
    divided = [q for a in lab.architectures for q in quotients(a)]
    grouping = [*grouping_rules(found, divided), *quotient_rules(found, divided), *positive_rules(found)]
    grouping += share_rules(found)
    outcome = _prove(work, _page(work, defaults, grouping), started, 0)
    for attempt in range(1, 2 * _ATTEMPTS):
        if not outcome.contradicted or outcome.page is None:
            return outcome
        # First learn from what refuted the page; in the end leave the refuted roles out, and prove the rest.
        page = _page(work, defaults, grouping) if attempt < _ATTEMPTS else outcome.page
        outcome = _prove(work, page, started, attempt)
    if outcome.contradicted:
        return replace(outcome, page=None, reason="fresh configs contradict every page")
    return outcome


def _page(work: _Work, defaults: Mapping[str, Value], grouping: Sequence[str]) -> dict[str, Any]:
    """Fits, tries to refute the result with random configs, and fits again with what refuted it."""
    found, page = work.found, {}
    for _ in range(_ROUNDS):
        rules = list(dict.fromkeys([*_tried_rules(work), *grouping]))
        learned = [_fit(work, architecture) for architecture in found.lab.architectures]
        page = assemble(found, learned, rules, defaults, work.nulls)
        before = len(found.lab.observations)
        fresh = [draw(found, work.rng, structure_only=i % 3 == 0) for i in range(_ROUND_DRAWS)]
        wrong = [o for o in fresh if o is not None and contradictions(page, o)]
        if not wrong and len(found.lab.observations) > before:
            break
    return page


def _tried_rules(work: _Work) -> list[str]:
    """Rules that stand: those that a build refutes give way to others, which are tried in turn."""
    for _ in range(_TRIALS):
        rules = learn_rules(work.found)
        if not challenge(work.found, rules, work.tried):
            break
    return learn_rules(work.found)


def _fit(work: _Work, architecture: str) -> Learned:
    """Equations of all roles, once more when a null turned out to stand for an expression."""
    lab = work.found.lab
    sightings = work.sightings(architecture, lab.observations)
    fields = _fields(work.found)
    structural = structural_fields(work.found, architecture)
    fitter = Fitter(sightings, fields, structural, work.nulls)
    equations: dict[Role, Equation] = {}
    unexpressed: dict[str, str] = {}
    roles = dict.fromkeys(role for s in sightings for role in s.roles)
    for role in sorted(roles, key=lambda r: str(r).endswith(".bias")):  # a weight explains its bias
        lab.check_time()
        # More rows never make an equation fit that did not; only more fields to read could.
        known = fitter.movers(role), frozenset(structural), frozenset(work.nulls)
        before, why = work.failed.get((architecture, role), (None, ""))
        if before == known:
            unexpressed[str(role)] = why
            continue
        try:
            last = work.found_before.get((architecture, role))
            equations[role] = last if last and fitter.still(last) else fitter.equation(role)
            work.found_before[architecture, role] = equations[role]
        except Unexpressed as reason:
            unexpressed[str(role)] = str(reason)
            work.failed[architecture, role] = known, str(reason)
    rules = null_rules(equations.values())
    if rules.keys() - work.nulls.keys():
        work.nulls |= rules
        return _fit(work, architecture)
    return Learned(architecture, work.roles[architecture], equations, unexpressed)


def _fields(found: Survey) -> list[str]:
    """What equations may read: all that was seen to matter, and lists that the class makes by itself."""
    lists = [n for n, v in found.base.values.items() if isinstance(v, list) and is_field(n)]
    return list(dict.fromkeys([*found.accepted, *lists]))


def structural_fields(found: Survey, architecture: str) -> list[str]:
    """Fields that made tensors of the class come or go, other than by counting."""
    moved: dict[str, None] = {}
    for o in found.lab.observations:
        if (
            o.changed
            and o.origin is not None
            and o.tables[architecture].keys() != o.origin.tables[architecture].keys()
        ):
            moved |= dict.fromkeys(o.changed)
            for name, value in o.values.items():
                if isinstance(value, list) and is_field(name) and value != o.origin.values.get(name):
                    moved[name] = None
    return list(moved)


def _prove(work: _Work, page: dict[str, Any], started: float, attempt: int) -> Outcome:
    """Fresh configs from another seed; a role that one of them contradicts is not expressed after all."""
    found = work.found
    rng = random.Random(f"proof {attempt} of {found.lab.model_type}")
    known = {id(o) for o in found.lab.observations}
    proofs = 0
    wrong: dict[str, str] = {}
    for i in range(4 * PROOFS):
        observation = draw(found, rng, structure_only=i % 4 == 0)
        if observation is None or id(observation) in known:
            continue
        known.add(id(observation))
        proofs += 1
        wrong |= contradictions(page, observation)
        if proofs >= PROOFS:
            break
    seconds, builds = time.monotonic() - started, found.lab.builds
    model_type = found.lab.model_type
    if wrong:
        page = without(page, wrong)
    if proofs < PROOFS // 2:
        return Outcome(
            model_type, None, f"only {proofs} random configs were accepted", seconds, builds, proofs
        )
    roles = len(page["tensors"]) + sum(map(len, page.get("layouts", {}).values()))
    lost = len(page.get("unexpressed", {}))
    if not roles or lost > roles:
        reason = "; ".join(f"{n}: {w}" for n, w in list(page["unexpressed"].items())[:3])
        return Outcome(
            model_type,
            None,
            f"{lost} of {lost + roles} roles not expressed: {reason}",
            seconds,
            builds,
            proofs,
        )
    return Outcome(model_type, page, "", seconds, builds, proofs, bool(wrong))


def without(page: dict[str, Any], wrong: dict[str, str]) -> dict[str, Any]:
    """The page with the contradicted tensors said to be unexpressed."""
    page = dict(page)
    page["tensors"] = {n: s for n, s in page["tensors"].items() if n not in wrong}
    if "layouts" in page:
        page["layouts"] = {
            a: {n: s for n, s in t.items() if n not in wrong} for a, t in page["layouts"].items()
        }
    page["unexpressed"] = {**page.get("unexpressed", {}), **wrong}
    return page


__all__ = ["Outcome", "learn", "names"]
