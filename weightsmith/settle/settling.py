"""Asks the numbers, and gives their answers to the solver of the shapes as what is given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.checkpoint.data import TensorReader
from weightsmith.schemes import plain_view
from weightsmith.settle.wanted import candidate_widths, configured_width, embedding_of, head_fields
from weightsmith.shapes import verdict_of
from weightsmith.shapes.beside.tokenizer_file import TOKENIZER
from weightsmith.shapes.page.value import freeze
from weightsmith.shapes.solve.equations import TensorEvidence
from weightsmith.values.unseen.dtype_history import tell_history
from weightsmith.values.unseen.embeddings import QUESTION as TOKENIZER_QUESTION
from weightsmith.values.unseen.embeddings import tell_tokenizer
from weightsmith.values.unseen.experts import tell_experts
from weightsmith.values.unseen.gate_up import QUESTION as GATE_QUESTION
from weightsmith.values.unseen.gate_up import tell_gate
from weightsmith.values.unseen.heads import ORDER, QUESTION, Stated, tell_heads
from weightsmith.values.unseen.layer_order import tell_order
from weightsmith.values.unseen.mlp_names import feed_forwards
from weightsmith.values.unseen.norm_offset import tell_offset
from weightsmith.values.unseen.sampling import Sampler
from weightsmith.values.unseen.tied import tell_tied
from weightsmith.values.unseen.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.settle.wanted import HeadFields
    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.value_finding import ValueFinding

# The codes of the problems that findings are, and the files that they are in.
CODES = {TOKENIZER_QUESTION: "tokenizer-mismatch", GATE_QUESTION: GATE_QUESTION, ORDER: ORDER}
FILES = {TOKENIZER_QUESTION: TOKENIZER}
# Families whose classes in transformers rotate row i with row i + width / 2 (their `rotate_half`; 5.19), whole heads.
ROTATE_HALVES = frozenset(
    {
        "falcon",
        "gemma",
        "gemma2",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "olmo",
        "olmo2",
        "olmoe",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "starcoder2",
    }
)
HEAD = "lm_head.weight"
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
    findings: list[ValueFinding] = []
    answers: list[tuple[HeadFields, ValueFinding]] = []
    view = plain_view(found.checkpoint)
    with TensorReader(found.checkpoint) as reader:
        sampler = Sampler.of(view, reader, near=isinstance(found.checkpoint.root, Path))
        for fields in head_fields(found):
            for told in tell_heads(sampler, fields.stack, _stated(fields, found)):
                findings.append(_judged(told, found))
                if told.name == QUESTION and isinstance(told.value, int):
                    answers.append((fields, told))
        findings += _others(sampler, found)
    for fields, told in answers:
        found = _with_width(found, config, user_set, fields, told, again)
    return _with_problems(replace(found, values=tuple(findings)), config)


def _others(sampler: Sampler, found: Inference) -> Iterator[ValueFinding]:
    """What bears on no field."""
    embedding = embedding_of(found)
    vocabulary = read_vocabulary(found.checkpoint.root / TOKENIZER)
    if embedding is not None and sampler.readable(embedding):
        if vocabulary is not None:
            yield from tell_tokenizer(sampler, embedding, vocabulary)
        if sampler.readable(HEAD):
            yield from tell_tied(sampler, embedding, HEAD)
    yield from tell_offset(sampler)
    blocks = feed_forwards(sampler.view.tensors)
    yield from tell_gate(sampler, blocks)
    if sampler.near:  # it takes a part of every layer
        yield from tell_order(sampler, blocks)
    yield from tell_experts(sampler, blocks)
    yield from tell_history(sampler)


def _stated(fields: HeadFields, found: Inference) -> Stated:
    widths = tuple(candidate_widths(fields, found))
    return Stated(widths, configured_width(fields, found), _rotates_halves(found))


def _rotates_halves(found: Inference) -> bool:
    """Whether the config names a family that does, and does not speak of heads that are rotated in part.

    Of bare tensors the family is often one of several.
    """
    family = found.architecture
    partly = "partial_rotary_factor" in json.dumps(found.config, default=str)
    return family.source == "config" and family.model_type in ROTATE_HALVES and not partly


def _judged(told: ValueFinding, found: Inference) -> ValueFinding:
    """A finding that contradicts the family that the config names."""
    if told.name == ORDER and told.value == "interleaved" and _rotates_halves(found):
        says = f"{told.says}; {found.architecture.model_type} pairs row i with row i + half a head"
        return replace(told, telling="contradicted", says=says)
    return told


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


def _with_width(
    found: Inference,
    config: JsonObject | None,
    user_set: Mapping[str, Json],
    fields: HeadFields,
    told: ValueFinding,
    again: Callable[[Mapping[str, Json]], Inference],
) -> Inference:
    """The answer of the shapes once the heads are as wide as the numbers tell."""
    assert isinstance(told.value, int)
    settings = fields.settings(told.value)
    set_otherwise = [n for n in settings if n in user_set and freeze(user_set[n]) != freeze(settings[n])]
    if set_otherwise:
        name = set_otherwise[0]
        message = f"{name} was set to {user_set[name]}, and the numbers of the weights tell {settings[name]}"
        return replace(found, problems=(*found.problems, Problem(OVERRULED, message)))
    decided = again({**user_set, **settings})
    if decided.ruled_out is not None and found.ruled_out is None:
        return found
    before = {row.name: row for row in found.fields}
    rows = tuple(
        _row(row, before.get(row.name, row), told, filed=config is not None)
        if row.name in fields.names
        else row
        for row in decided.fields
    )
    verdict = verdict_of(config, rows, decided.problems)
    return replace(decided, fields=rows, verdict=verdict, user_set=found.user_set)


def _row(row: FieldReport, before: FieldReport, told: ValueFinding, *, filed: bool) -> FieldReport:
    """A row of the heads, with the numbers as its basis where the shapes alone do not force it.

    before: the row of the shapes alone, which has what the file says. filed: there is a file.
    """
    if row.basis == "weights":
        return row
    evidence = TensorEvidence(told.tensors, None, None, told.says, told.statistic, told.margin)
    present = before.default if before.configured is None else before.configured
    same = filed and freeze(present) == freeze(row.derived)
    return replace(
        before,
        default=before.default if before.configured is None else None,
        derived=row.derived,
        basis="values",
        status="agrees" if same else "missing" if before.configured is None else "differs",
        candidates=(),
        evidence=(evidence, *before.evidence),
    )
