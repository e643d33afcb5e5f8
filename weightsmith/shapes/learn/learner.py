"""Learns one family's page: probe, fit, try to refute with random configs, fit again, and prove on fresh ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.class_fit import fit_class
from weightsmith.shapes.learn.fit.null_defaults import counted_nulls
from weightsmith.shapes.learn.fit.rules import (
    companion_rules,
    grouping_rules,
    learn_rules,
    positive_rules,
    quotient_rules,
)
from weightsmith.shapes.learn.fit.sightings import RoleParser
from weightsmith.shapes.learn.probe.builder import BUILDS
from weightsmith.shapes.learn.probe.drawing import draw, observe_beyond_layers, observe_thresholds
from weightsmith.shapes.learn.probe.layer_kinds import layer_kinds
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.learn.probe.rule_trials import (
    challenge,
    last_item_rules,
    probe_parity,
    probe_refused,
    share_rules,
)
from weightsmith.shapes.learn.probe.single_changes import (
    changes_of,
    from_second_base,
    survey_fields,
    undeclared_elsewhere,
)
from weightsmith.shapes.learn.probe.starting_config import start
from weightsmith.shapes.learn.progress import Progress
from weightsmith.shapes.learn.prove import PROOFS, contradictions, prove
from weightsmith.shapes.learn.write.assemble import assemble, defaults_of_class
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.reference.published import published
from weightsmith.shapes.reference.source_words import quotients, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.learn.fit.equation import LearnedClass
    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.learn.probe.probe import Asked, BuildObservation
    from weightsmith.shapes.learn.write.learned_page import LearnedPage
    from weightsmith.shapes.page.value import Value

_FIRST_DRAWS = 24
_ROUND_DRAWS = 12
_ROUNDS = 6
# Rules that a build refutes are replaced by others, so many times.
_TRIALS = 4
# What refutes a page in its proof is learned from, and the page is proven again on other configs.
_ATTEMPTS = 3
# Roles that nothing moved are surveyed from where they were seen, so many times.
_MAX_VISITS = 4


@dataclass(frozen=True, slots=True)
class LearningResult:
    """page: None when nothing trustworthy was learned; reason says why. seconds: of wall time, to tell people.
    builds, proofs: how many configs were built or refused, and how many of them proved the page. timed_out: builds
    that ran into the safety net; another machine may learn something else. asked: every probe that took a build."""

    page: LearnedPage | None
    reason: str
    seconds: float
    builds: int
    proofs: int
    timed_out: tuple[str, ...]
    asked: Sequence[Asked] = ()


def learn(model_type: str, builds: int = BUILDS, only: tuple[str, ...] = ()) -> LearningResult:
    """The page of a type that transformers has.

    builds: how many may be made. only: the model classes to learn; all language models of the type where empty.
    Raises Rejected when no config of it can be built, OutOfBudget where the builds do not suffice.
    """
    return learn_surveyed(model_type, builds, only)[0]


def learn_surveyed(
    model_type: str, builds: int = BUILDS, only: tuple[str, ...] = ()
) -> tuple[LearningResult, FieldSurvey]:
    """As `learn`, with what the probes found out, from which further configs can be drawn."""
    started = time.monotonic()
    found = _surveyed(model_type, builds, only)
    lab, progress = found.lab, _probed(found)
    defaults = {**lab.hidden, **defaults_of_class(model_type, lab.base)}
    rules = _rules_beside_refusals(progress.found, defaults)
    page = _page(progress, defaults, rules)
    for attempt in range(2 * _ATTEMPTS):
        # First learn from what refuted the page; in the end leave the refuted roles out, and prove the rest.
        if 0 < attempt < _ATTEMPTS:
            page = _page(progress, defaults, rules)
        proof = prove(page, progress.found, attempt)
        page = page.without(proof.wrong) if proof.wrong else page
        reason = not_trusted(page, proof.configs)
        if reason or not proof.wrong:
            break
    else:
        reason = "fresh configs contradict every page"
    passed = time.monotonic() - started
    learned = None if reason else page
    late = tuple(lab.timed_out)
    return LearningResult(learned, reason, passed, lab.builds, proof.configs, late, lab.asked), found


def _surveyed(model_type: str, builds: int, only: tuple[str, ...]) -> FieldSurvey:
    """Single changes; once more where these led to settings that no class declares and that the base never asks for."""
    elsewhere: list[dict[str, Value]] = []
    lab = None
    while True:
        lab, base = start(model_type, only, builds, elsewhere, lab)
        hints: dict[str, tuple[str, ...]] = {}
        for architecture in lab.architectures:
            hints |= words(architecture)
        hints |= layer_kinds(lab, base, hints)
        found = survey_fields(lab, base, hints)
        if elsewhere:
            return found
        elsewhere = undeclared_elsewhere(found)
        if not elsewhere:
            return found


def _probed(found: FieldSurvey) -> Progress:
    """What is known before the first fit: single changes, then random configs."""
    lab = found.lab
    probe_refused(found)
    probe_parity(found)
    nulls = counted_nulls(found)
    spellings = published(lab.architectures, lab.config(Probe({}, "other names that its tensors have")))
    roles = {a: RoleParser.learned(lab.observations, a) for a in lab.architectures}
    progress = Progress(found, roles, nulls, spellings)
    for i in range(_FIRST_DRAWS):
        draw(found, progress.rng, "many fields at once", structure_only=i % 2 == 0)
    observe_beyond_layers(found, progress.rng)
    return progress


def _rules_beside_refusals(found: FieldSurvey, defaults: Mapping[str, Value]) -> list[str]:
    """Rules that no constructor checks, and those that builds of their own were made for."""
    divided = [q for architecture in found.lab.architectures for q in quotients(architecture)]
    rules = [*grouping_rules(found, divided), *quotient_rules(found, divided), *positive_rules(found)]
    return [*rules, *share_rules(found), *last_item_rules(found), *companion_rules(found, defaults)]


def _page(progress: Progress, defaults: Mapping[str, Value], rules: Sequence[str]) -> LearnedPage:
    """Fits, tries to refute the result with random configs, and fits again with what refuted it."""
    found = progress.found
    for _ in range(_ROUNDS):
        _try_rules(progress)
        learned = [fit_class(progress, architecture) for architecture in found.lab.architectures]
        if _revisit(progress):
            learned = [fit_class(progress, architecture) for architecture in found.lab.architectures]
        every = list(dict.fromkeys([*learn_rules(found), *rules]))
        page = assemble(found, learned, every, defaults, progress.nulls, progress.spellings)
        parsed = parse_page(page.document())
        before = len(found.lab.observations)
        fresh: list[BuildObservation | None] = [*observe_thresholds(found, _conditions(learned))]
        fresh += [
            draw(found, progress.rng, "does it refute the page?", structure_only=i % 3 == 0)
            for i in range(_ROUND_DRAWS)
        ]
        wrong = [o for o in fresh if o is not None and contradictions(parsed, o)]
        if not wrong and len(found.lab.observations) > before:
            break
    return page


def _try_rules(progress: Progress) -> None:
    """Builds what the rules forbid. Those that are refuted are replaced by others, which are tested in turn."""
    for _ in range(_TRIALS):
        if not challenge(progress.found, learn_rules(progress.found), progress.tried):
            break


def _revisit(progress: Progress) -> bool:
    """Makes single changes from where roles were seen that none has moved so far; says whether it did.

    Done for a few observations in all.
    """
    before = len(progress.visited)
    for (architecture, role), failed in list(progress.failed.items()):
        seen = [s.observation for s in progress.sightings(architecture) if role in s.roles]
        fresh = not failed.movers and seen and not any(id(o) in progress.visited for o in seen)
        if fresh and len(progress.visited) < _MAX_VISITS:
            nearest = min(seen, key=lambda o: len(changes_of(o, progress.found)))
            progress.visited.add(id(nearest))
            from_second_base(progress.found, nearest, progress.found.candidates())
    if len(progress.visited) > before:
        progress.learn_roles()
    return len(progress.visited) > before


def _conditions(learned: Sequence[LearnedClass]) -> list[str]:
    return [test for part in learned for e in part.equations.values() for _, test in e.variants if test]


def not_trusted(page: LearnedPage, configs: int) -> str:
    """Why the page is not to be trusted, "" when it is."""
    if configs < PROOFS // 2:
        return f"only {configs} random configs were accepted"
    lost = len(page.unexpressed)
    if not page.roles or lost > page.roles:
        first = "; ".join(f"{name}: {why}" for name, why in list(page.unexpressed.items())[:3])
        return f"{lost} of {lost + page.roles} roles not expressed: {first}"
    return ""
