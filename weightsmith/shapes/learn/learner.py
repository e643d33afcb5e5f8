"""Learns one family's page: probe, fit, try to refute with random configs, fit again, and prove on fresh ones."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from weightsmith.shapes.learn.fit.fitter import Fitter, Uncounted, Unexpressed
from weightsmith.shapes.learn.fit.null_defaults import counted_nulls, null_rules
from weightsmith.shapes.learn.fit.rules import (
    companion_rules,
    grouping_rules,
    learn_rules,
    positive_rules,
    quotient_rules,
)
from weightsmith.shapes.learn.fit.sightings import RoleName, RoleParser, Sighting
from weightsmith.shapes.learn.probe.builder import names
from weightsmith.shapes.learn.probe.drawing import draw, edges, overshoot
from weightsmith.shapes.learn.probe.field_survey import (
    FieldSurvey,
    changes_of,
    from_second_base,
    survey_fields,
)
from weightsmith.shapes.learn.probe.rule_trials import challenge, probe_parity, probe_refused, share_rules
from weightsmith.shapes.learn.probe.starting_config import is_field, start
from weightsmith.shapes.learn.prove import contradictions
from weightsmith.shapes.learn.write.assemble import Learned, assemble, defaults_of_class
from weightsmith.shapes.page.page import text_key
from weightsmith.shapes.reference.meta_models import make_config
from weightsmith.shapes.reference.published import published
from weightsmith.shapes.reference.source_words import quotients, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.learn.fit.fitter import Equation
    from weightsmith.shapes.learn.probe.builder import BuildObservation
    from weightsmith.shapes.page.expression import Polynomial, Value

_FIRST_DRAWS = 24
_ROUND_DRAWS = 12
_ROUNDS = 6
# Rules that a build refutes give way to others, this often.
_TRIALS = 4
# What refutes a page in its proof is learned from, and the page is proven again on other configs.
_ATTEMPTS = 3
# Roles that nothing moved are surveyed from where they were seen, so many times.
_MAX_VISITS = 4
# Containers that nothing counts are spelled out up to this size, and up to so many kinds of tensors.
_HANDFUL, _FEW_KINDS = 24, 4
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
    """What grows from round to round.

    kept: equations, and the observations that each is known to explain. visited: observations from which roles were
    surveyed that nothing had moved. spelled: containers whose digits are names: the places of a few convolutions
    among their activations. tried: rules that stood a trial. spellings: other names that the tensors may have.
    """

    found: FieldSurvey
    roles: dict[str, RoleParser]
    rng: random.Random = field(default_factory=lambda: random.Random(20))
    sighted: dict[tuple[str, int], Sighting] = field(default_factory=dict)
    nulls: dict[str, Polynomial] = field(default_factory=dict)
    failed: dict[tuple[str, RoleName], tuple[tuple[frozenset[str], ...], str]] = field(default_factory=dict)
    kept: dict[tuple[str, RoleName], tuple[Equation, set[int]]] = field(default_factory=dict)
    visited: set[int] = field(default_factory=set)
    spelled: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    spellings: Sequence[Mapping[str, str]] = ()

    def spell_out(self, architecture: str, containers: Sequence[str]) -> None:
        self.spelled |= set(containers)
        self._read_names(architecture, self.roles[architecture].slotted - self.spelled)

    def learn_roles(self) -> None:
        """Which digits are indices, once more with what was observed since."""
        for architecture, known in list(self.roles.items()):
            found = RoleParser.learned(self.found.lab.observations, architecture).slotted - self.spelled
            if not found <= known.slotted:
                self._read_names(architecture, known.slotted | found)

    def _read_names(self, architecture: str, slotted: set[str]) -> None:
        self.roles[architecture] = RoleParser(slotted)
        self.sighted = {key: s for key, s in self.sighted.items() if key[0] != architecture}

    def sightings(self, architecture: str, observations: Sequence[BuildObservation]) -> list[Sighting]:
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
    found = survey_fields(lab, base, hints)
    probe_refused(found)
    probe_parity(found)
    nulls = counted_nulls(found)
    spellings = published(lab.architectures, make_config(model_type, lab.base))
    roles = {a: RoleParser.learned(lab.observations, a) for a in lab.architectures}
    work = _Work(found, roles, nulls=nulls, spellings=spellings)
    for i in range(_FIRST_DRAWS):
        draw(found, work.rng, structure_only=i % 2 == 0)
    overshoot(found, work.rng)
    defaults = {**lab.hidden, **defaults_of_class(model_type)}
    divided = [q for a in lab.architectures for q in quotients(a)]
    grouping = [*grouping_rules(found, divided), *quotient_rules(found, divided), *positive_rules(found)]
    grouping += [*share_rules(found), *companion_rules(found, defaults)]
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
        _try_rules(work)
        learned = [_fit(work, architecture) for architecture in found.lab.architectures]
        if _revisit(work):
            learned = [_fit(work, architecture) for architecture in found.lab.architectures]
        rules = list(dict.fromkeys([*learn_rules(found), *grouping]))
        page = assemble(found, learned, rules, defaults, work.nulls, work.spellings)
        before = len(found.lab.observations)
        fresh: list[BuildObservation | None] = [*edges(found, _conditions(learned))]
        fresh += [draw(found, work.rng, structure_only=i % 3 == 0) for i in range(_ROUND_DRAWS)]
        wrong = [o for o in fresh if o is not None and contradictions(page, o)]
        if not wrong and len(found.lab.observations) > before:
            break
    return page


def _try_rules(work: _Work) -> None:
    """Builds what the rules forbid: those that it refutes give way to others, which are tried in turn."""
    for _ in range(_TRIALS):
        if not challenge(work.found, learn_rules(work.found), work.tried):
            break


def _revisit(work: _Work) -> bool:
    """Surveys where roles were seen that no single change ever moved, a few times in all; says whether it did."""
    before = len(work.visited)
    for (architecture, role), ((movers, *_), _) in list(work.failed.items()):
        seen = [
            s.observation
            for s in work.sightings(architecture, work.found.lab.observations)
            if role in s.roles
        ]
        fresh = not movers and seen and not any(id(o) in work.visited for o in seen)
        if fresh and len(work.visited) < _MAX_VISITS:
            nearest = min(seen, key=lambda o: len(changes_of(o, work.found)))
            work.visited.add(id(nearest))
            from_second_base(work.found, nearest, work.found.candidates())
    if len(work.visited) > before:
        work.learn_roles()
    return len(work.visited) > before


def _conditions(learned: Sequence[Learned]) -> list[str]:
    return [test for part in learned for e in part.equations.values() for _, test in e.variants if test]


def _fit(work: _Work, architecture: str) -> Learned:
    """Equations of all roles, once more when a null turned out to stand for an expression."""
    lab = work.found.lab
    sightings = work.sightings(architecture, lab.observations)
    fields = _fields(work.found)
    structural = structural_fields(work.found, architecture)
    fitter = Fitter(sightings, fields, structural, work.nulls)
    equations: dict[RoleName, Equation] = {}
    unexpressed: dict[str, str] = {}
    uncounted: dict[str, None] = {}
    roles = dict.fromkeys(role for s in sightings for role in s.roles)
    for role in sorted(roles, key=lambda r: str(r).endswith(".bias")):  # a weight explains its bias
        lab.check_time()
        # More rows never make an equation fit that did not; only more fields to read could.
        known = fitter.movers(role), frozenset(structural), frozenset(work.nulls)
        before, why = work.failed.get((architecture, role), ((), ""))
        if before == known:
            unexpressed[str(role)] = why
            continue
        equation, proven = work.kept.get((architecture, role), (None, set()))
        fresh = [i for i, s in enumerate(sightings) if id(s.observation) not in proven]
        if equation is not None and fitter.holds(equation, fresh):
            fitter.adopt(equation)
            equations[role] = equation
            proven |= {id(s.observation) for s in sightings}
            continue
        try:
            equations[role] = fitter.equation(role)
            work.kept[architecture, role] = equations[role], {id(s.observation) for s in sightings}
        except Unexpressed as reason:
            if isinstance(reason, Uncounted):
                uncounted[reason.container] = None
            unexpressed[str(role)] = str(reason)
            work.failed[architecture, role] = known, str(reason)
    small = [c for c in uncounted if _is_handful(c, sightings)]
    if small:
        work.spell_out(architecture, small)
        return _fit(work, architecture)
    rules = null_rules(equations.values())
    if rules.keys() - work.nulls.keys():
        work.nulls |= rules
        work.kept.clear()
        return _fit(work, architecture)
    return Learned(architecture, work.roles[architecture], equations, unexpressed)


def _is_handful(container: str, sightings: Sequence[Sighting]) -> bool:
    """Few things of a few kinds, in no other container: they can be named one by one."""
    sizes = [size for s in sightings for size in s.sizes.get(container, {}).values()]
    roles = {role for s in sightings for role in s.roles if container in role.containers}
    return (
        "#" not in container
        and max(sizes, default=0) <= _HANDFUL
        and all(len(role.containers) == 1 for role in roles)
        and len(roles) <= _FEW_KINDS
    )


def _fields(found: FieldSurvey) -> list[str]:
    """What equations may read: all that was seen to matter, and lists that the class makes by itself."""
    lists = [n for n, v in found.base.values.items() if isinstance(v, list) and is_field(n)]
    return list(dict.fromkeys([*found.accepted, *lists]))


def structural_fields(found: FieldSurvey, architecture: str) -> list[str]:
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
    said = {text_key(name): why for name, why in wrong.items()}
    page["unexpressed"] = {**page.get("unexpressed", {}), **said}
    return page


__all__ = ["Outcome", "learn", "names"]
