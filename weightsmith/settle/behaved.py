"""Gives what the running model says of its settings to the rows of the shapes: told, ruled out, or left as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.settle.settling import OVERRULED
from weightsmith.shapes import FieldReport, verdict_of
from weightsmith.shapes.guesses import setting
from weightsmith.shapes.inference import Guess
from weightsmith.shapes.solve.equations import TensorEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes import Inference

# What evidence names in the place of a tensor.
TEXTS = "known texts"
# Findings that bear on no field: the code of the problem, and the file that it is in.
OF_OTHER_FILES = {"begin-of-text": "tokenizer_config.json", "end-of-turn": "generation_config.json"}
# The code of the problem that a setting is ruled out which only its publisher can write anew, such as rotary scaling.
RULED_OUT = "behaviour"


def behaved(
    found: Inference,
    config: JsonObject | None,
    user_set: Mapping[str, Json],
    findings: Sequence[BehaviourFinding],
    again: Callable[[Mapping[str, Json]], Inference],
) -> Inference:
    """`found` with what known texts say.

    config: the file. user_set: what the user has set, which stays. again: infers once more, with these settings given.
    Of a number that is ruled out the best is a guess, since a range of others does as well; of a switch it is not.
    """
    named = [(_field(one, found.fields), one) for one in findings if one.name not in OF_OTHER_FILES]
    wrong = {
        name: one for name, one in named if one.telling == "contradicted" and _has_place(name, one, found)
    }
    settings = {name: one.best for name, one in wrong.items() if name not in user_set}
    decided = again({**user_set, **settings}) if settings else found
    rows = {row.name: row for row in (*decided.fields, *found.fields)}
    for name, one in named:
        row = rows.get(name) or FieldReport(name, None, one.value, one.value, "unverifiable", None)
        told = one.telling == "told" and (name in rows or not isinstance(one.value, dict | list))
        if row.status == "unverifiable" and name not in user_set and (told or name in wrong):
            rows[name] = _row(row, one)
    problems = (*decided.problems, *_problems(named, wrong, user_set), *_of_other_files(findings))
    return replace(
        decided,
        fields=tuple(rows.values()),
        problems=problems,
        verdict=verdict_of(config, rows.values(), problems),
        guesses=(
            *decided.guesses,
            *(_guess(rows[name], one) for name, one in wrong.items() if _is_open(rows[name])),
        ),
        values=found.values,
        user_set=found.user_set,
        behaviour=tuple(findings),
    )


def _field(finding: BehaviourFinding, rows: Iterable[FieldReport]) -> str:
    """The file's own name for a setting: transformers keeps `rope_theta` in an object of its own."""
    names = [row.name for row in rows]
    last = finding.name.rpartition(".")[2]
    alike = [name for name in names if name.rpartition(".")[2] == last]
    return alike[0] if finding.name not in names and len(alike) == 1 else finding.name


def _row(row: FieldReport, finding: BehaviourFinding) -> FieldReport:
    """A row that no shape told, with the likelihood as its basis."""
    effects = [(one.nats, one.z) for one in finding.ruled_out]
    nats, z = min(effects)
    evidence = TensorEvidence(TEXTS, None, None, finding.says, nats, z)
    row = replace(row, default=row.default if row.configured is None else None, evidence=(evidence,))
    if finding.telling == "told":
        return replace(row, status="agrees", basis="behaviour")
    alone = finding.whole and len(finding.allowed) == 1
    return replace(
        row,
        derived=finding.best,
        status="missing" if row.configured is None and row.default is None else "differs",
        basis="behaviour" if alone else "guess",
        candidates=() if alone else finding.allowed,
    )


def _is_open(row: FieldReport) -> bool:
    return row.basis == "guess"


def _guess(row: FieldReport, finding: BehaviourFinding) -> Guess:
    return Guess(row.name, finding.best, finding.allowed, "likelihood", setting(row.name, finding.best), ())


def _has_place(name: str, finding: BehaviourFinding, found: Inference) -> bool:
    """Whether the file can be given the value: a number or word, at a place that its dialect has."""
    section = name.rpartition(".")[0]
    rows = {row.name for row in found.fields}
    return not isinstance(finding.best, dict | list) and (
        name in rows or not section or section in found.config
    )


def _problems(
    named: Iterable[tuple[str, BehaviourFinding]],
    wrong: Mapping[str, BehaviourFinding],
    user_set: Mapping[str, Json],
) -> Iterator[Problem]:
    """What is ruled out and stays: the user's word, and what has no place."""
    for name, one in named:
        if one.telling != "contradicted":
            continue
        if name in user_set:
            yield Problem(OVERRULED, f"{name} was set to {user_set[name]}; {one.says}")
        elif name not in wrong:
            yield Problem(RULED_OUT, f"{name}: {one.says}", stops_loader=True)


def _of_other_files(findings: Iterable[BehaviourFinding]) -> Iterator[Problem]:
    for one in findings:
        if one.telling == "contradicted" and one.name in OF_OTHER_FILES:
            yield Problem(one.name, one.says, file=OF_OTHER_FILES[one.name])
