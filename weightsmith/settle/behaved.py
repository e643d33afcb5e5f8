"""Gives what the running model says of its settings to the rows of the shapes: told, ruled out, or left as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.behaviour_finding import (
    BEGIN_OF_TEXT,
    CALIBRATION,
    END_OF_TURN,
    TOKENIZER_MISMATCH,
    WEIGHTS_ORDER,
)
from weightsmith.checkpoint import Problem
from weightsmith.settle.settling import OVERRULED, settled_row
from weightsmith.shapes import FieldReport, verdict_of
from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.guesses import setting
from weightsmith.shapes.inference import Guess
from weightsmith.shapes.solve.equations import TensorEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes import Inference

# What evidence names in the place of a tensor.
TEXTS = "known texts"
# Findings that bear on no field: the code of the problem, and the side file that it is in, empty for the weights.
OF_OTHER_FILES = {
    BEGIN_OF_TEXT: "tokenizer_config.json",
    END_OF_TURN: "generation_config.json",
    WEIGHTS_ORDER: "",
    TOKENIZER_MISMATCH: "tokenizer.json",
    CALIBRATION: "",
}
# Those with which another model runs than was trained.
_ANOTHER_MODEL = frozenset({WEIGHTS_ORDER, TOKENIZER_MISMATCH, CALIBRATION})
ROTARY = "rope_parameters"
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
    Where one of several guesses of the shapes is left, it is told, and what goes with it.
    """
    said = _said(found, findings)
    settings = {name: one.best for name, one in (said.wrong | said.left).items() if name not in user_set}
    decided = again({**user_set, **settings}) if settings else found
    rows = _rows(found, decided, said, user_set, filed=config is not None)
    problems = (*decided.problems, *_problems(said, user_set), *_of_other_files(findings))
    guesses = (_guess(rows[name], one) for name, one in said.wrong.items() if rows[name].basis == "guess")
    return replace(
        decided,
        fields=tuple(rows.values()),
        problems=problems,
        verdict=verdict_of(config, rows.values(), problems),
        guesses=(*decided.guesses, *guesses),
        values=found.values,
        user_set=found.user_set,
        behaviour=tuple(findings),
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """Findings by the file's names of the fields: of all of them, of those that are ruled out and have a place in the
    file, and of guesses of which one is left.
    """

    named: tuple[tuple[str, BehaviourFinding], ...]
    wrong: dict[str, BehaviourFinding]
    left: dict[str, BehaviourFinding]


def _said(found: Inference, findings: Iterable[BehaviourFinding]) -> _Said:
    present = {row.name for row in found.fields}
    named = [(_field(one, present), one) for one in findings if one.name not in OF_OTHER_FILES]
    wrong = {
        name: one for name, one in named if one.telling == "contradicted" and _has_place(name, one, found)
    }
    guessed = {guess.name for guess in found.guesses}
    return _Said(
        tuple(named), wrong, {name: one for name, one in named if name in guessed and _one_is_left(one)}
    )


def _rows(
    found: Inference, decided: Inference, said: _Said, user_set: Mapping[str, Json], *, filed: bool
) -> dict[str, FieldReport]:
    """decided: inferred once more with what was said. filed: there is a file."""
    rows = {row.name: row for row in (*decided.fields, *found.fields)}
    rows |= _told_guesses(found, decided, said.left, filed=filed)
    for name, one in said.named:
        row = rows.get(name) or FieldReport(name, None, one.value, one.value, "unverifiable", None)
        told = one.telling == "told" and (name in rows or not isinstance(one.value, dict | list))
        asked = row.status == "unverifiable" or (row.basis == "guess" and name in said.wrong)
        if asked and name not in user_set and (told or name in said.wrong):
            rows[name] = _row(row, one)
    return rows


def _field(finding: BehaviourFinding, rows: Container[str]) -> str:
    """The file's own name for a setting: transformers 4 has beside `rope_parameters` what 5 keeps in it."""
    *section, last = finding.name.split(".")
    beside = ".".join([*section[:-1], last])
    moved = section[-1:] == [ROTARY] and finding.name not in rows and beside in rows
    return beside if moved else finding.name


def _one_is_left(finding: BehaviourFinding) -> bool:
    return finding.telling != "not told" and _alone(finding)


def _alone(finding: BehaviourFinding) -> bool:
    """Whether nothing else does as well as the best: no other value, and no change elsewhere."""
    return finding.whole and len(finding.allowed) == 1 and not finding.instead


def _told_guesses(
    found: Inference, decided: Inference, left: Mapping[str, BehaviourFinding], *, filed: bool
) -> dict[str, FieldReport]:
    """Rows of what was a guess and is none any more. left: the findings that decided it."""
    if not left:
        return {}
    still_open = {guess.name for guess in decided.guesses}
    before = {row.name: row for row in found.fields if row.basis == "guess" and row.name not in still_open}
    first = next(iter(left.values()))
    return {
        row.name: settled_row(
            row, before[row.name], "behaviour", _evidence(left.get(row.name, first)), filed=filed
        )
        for row in decided.fields
        if row.name in before
    }


def _evidence(finding: BehaviourFinding) -> TensorEvidence:
    nearest = min(finding.ruled_out, key=lambda one: one.nats)
    return TensorEvidence(TEXTS, None, None, finding.says, nearest.nats, nearest.z)


def _row(row: FieldReport, finding: BehaviourFinding) -> FieldReport:
    """A row that no shape told, with the likelihood as its basis."""
    evidence = _evidence(finding)
    row = replace(row, default=row.default if row.configured is None else None, evidence=(evidence,))
    if finding.telling == "told":
        return replace(row, status="agrees", basis="behaviour")
    alone = _alone(finding)
    return replace(
        row,
        derived=finding.best,
        status="missing" if row.configured is None and row.default is None else "differs",
        basis="behaviour" if alone else "guess",
        candidates=() if alone else finding.allowed,
    )


def _guess(row: FieldReport, finding: BehaviourFinding) -> Guess:
    return Guess(row.name, finding.best, finding.allowed, "likelihood", setting(row.name, finding.best), ())


def _has_place(name: str, finding: BehaviourFinding, found: Inference) -> bool:
    """Whether the file can be given the value: a number or word, at a place that its dialect has."""
    section = name.rpartition(".")[0]
    there = not section or lookup(found.config, section)[0] or name in {row.name for row in found.fields}
    return there and not isinstance(finding.best, dict | list)


def _problems(said: _Said, user_set: Mapping[str, Json]) -> Iterator[Problem]:
    """What is ruled out and stays: the user's word, and what has no place."""
    for name, one in said.named:
        if one.telling != "contradicted":
            continue
        if name in user_set:
            yield Problem(OVERRULED, f"{name} was set to {user_set[name]}; {one.says}")
        elif name not in said.wrong:
            yield Problem(RULED_OUT, f"{name}: {one.says}", stops_loader=True)


def _of_other_files(findings: Iterable[BehaviourFinding]) -> Iterator[Problem]:
    for one in findings:
        if one.telling == "contradicted" and one.name in OF_OTHER_FILES:
            file = OF_OTHER_FILES[one.name]
            yield Problem(one.name, one.says, stops_loader=one.name in _ANOTHER_MODEL, file=file)
