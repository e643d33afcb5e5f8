"""Asks the numbers, and gives their answers to the solver of the shapes as what is given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.settle.asking import ask
from weightsmith.shapes import verdict_of
from weightsmith.shapes.beside.tokenizer_file import TOKENIZER
from weightsmith.shapes.page.value import freeze
from weightsmith.shapes.solve.equations import TensorEvidence
from weightsmith.values.unseen.embeddings import QUESTION as TOKENIZER_QUESTION
from weightsmith.values.unseen.gate_up import QUESTION as GATE_QUESTION
from weightsmith.values.unseen.heads import ORDER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.settle.wanted import HeadFields
    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.shapes.field_reports import Basis
    from weightsmith.value_finding import ValueFinding

# The codes of the problems that findings are, and the files that they are in.
CODES = {TOKENIZER_QUESTION: "tokenizer-mismatch", GATE_QUESTION: GATE_QUESTION, ORDER: ORDER}
FILES = {TOKENIZER_QUESTION: TOKENIZER}
# The code of the problem that the user sets something else than the numbers tell.
OVERRULED = "values"


def settled(
    found: Inference,
    config: JsonObject | None,
    user_set: Mapping[str, Json],
    again: Callable[[Mapping[str, Json]], Inference],
) -> Inference:
    """`found` with what a sample of the numbers tells.

    config: the file. user_set: what the user has set, which stays. again: infers once more, with these settings given.
    A width that the shapes rule out settles nothing. Raises what `TensorReader.read` raises.
    """
    if found.architecture.model_type is None or found.verdict == "unknown":
        return replace(found, values=())
    findings, answers = ask(found)
    decided = _with_widths(found, config, user_set, _agreed(answers), again)
    return _with_problems(replace(decided, values=tuple(findings)), config)


def _with_problems(found: Inference, config: JsonObject | None) -> Inference:
    """What the numbers contradict as problems: with each, another model runs than was trained."""
    wrong = [finding for finding in found.values or () if finding.telling == "contradicted"]
    problems = tuple(
        Problem(CODES[one.name], one.says, stops_loader=True, file=FILES.get(one.name, "")) for one in wrong
    )
    if not problems:
        return found
    every = (*found.problems, *problems)
    return replace(found, problems=every, verdict=verdict_of(config, found.fields, every))


def _agreed(answers: Sequence[tuple[HeadFields, ValueFinding]]) -> list[tuple[HeadFields, ValueFinding]]:
    """Those that no other stack of the same fields contradicts."""
    widths: dict[tuple[str, ...], set[Json]] = {}
    for fields, told in answers:
        widths.setdefault(fields.names, set()).add(told.value)
    return [(fields, told) for fields, told in answers if len(widths[fields.names]) == 1]


def _with_widths(
    found: Inference,
    config: JsonObject | None,
    user_set: Mapping[str, Json],
    answers: Sequence[tuple[HeadFields, ValueFinding]],
    again: Callable[[Mapping[str, Json]], Inference],
) -> Inference:
    """The answer of the shapes once heads are as wide as the numbers tell."""
    settings: dict[str, Json] = {}
    for fields, told in answers:
        assert isinstance(told.value, int)
        settings |= fields.settings(told.value)
    before = {row.name: row for row in found.fields}
    told_of = {name: told for fields, told in answers for name in _told_names(fields, before)}
    against = {
        n: user_set[n] for n in settings if n in user_set and freeze(user_set[n]) != freeze(settings[n])
    }
    if not settings:
        return found
    if against:
        name, value = next(iter(against.items()))
        message = f"{name} was set to {value}, and the numbers of the weights tell {settings[name]}"
        return replace(found, problems=(*found.problems, Problem(OVERRULED, message)))
    decided = again({**user_set, **settings})
    if decided.ruled_out is not None and found.ruled_out is None:
        named = ", ".join(f"{name}={value}" for name, value in settings.items())
        message = f"the numbers of the weights tell {named}, which their shapes rule out"
        return replace(found, problems=(*found.problems, Problem(OVERRULED, message)))
    rows = tuple(
        _row(row, before.get(row.name, row), told_of[row.name], filed=config is not None)
        if row.name in told_of
        else row
        for row in decided.fields
    )
    verdict = verdict_of(config, rows, decided.problems)
    return replace(decided, fields=rows, verdict=verdict, user_set=found.user_set)


def _told_names(fields: HeadFields, before: Mapping[str, FieldReport]) -> list[str]:
    """The fields that a width of heads decides. Key heads that no shape depends on do not follow from it."""
    keys = before.get(fields.key_value_heads or "")
    free = keys is not None and keys.status == "unverifiable"
    return [name for name in fields.names if name != fields.key_value_heads or not free]


def _row(row: FieldReport, before: FieldReport, told: ValueFinding, *, filed: bool) -> FieldReport:
    evidence = TensorEvidence(told.tensors, None, None, told.says, told.statistic, told.margin)
    return settled_row(row, before, "values", evidence, filed=filed)


def settled_row(
    row: FieldReport, before: FieldReport, basis: Basis, evidence: TensorEvidence, *, filed: bool
) -> FieldReport:
    """A row of the heads, with another basis where the shapes alone do not force it.

    before: the row of the shapes alone, which has what the file says. filed: there is a file.
    """
    if row.basis == "weights":
        return row
    present = before.default if before.configured is None else before.configured
    same = filed and freeze(present) == freeze(row.derived)
    return replace(
        before,
        default=before.default if before.configured is None else None,
        derived=row.derived,
        basis=basis,
        status="agrees" if same else "missing" if before.configured is None else "differs",
        candidates=(),
        evidence=(evidence, *before.evidence),
    )
