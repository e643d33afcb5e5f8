"""Asks the numbers of a checkpoint all that they can be asked about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.data import TensorReader
from weightsmith.schemes import plain_view
from weightsmith.settle.wanted import candidate_widths, configured_width, embedding_of, head_fields
from weightsmith.shapes.beside.tokenizer_file import TOKENIZER
from weightsmith.values.unseen.dtype_history import tell_history
from weightsmith.values.unseen.embeddings import tell_tokenizer
from weightsmith.values.unseen.experts import tell_experts
from weightsmith.values.unseen.gate_up import tell_gate
from weightsmith.values.unseen.heads import ORDER, QUESTION, Stated, tell_heads
from weightsmith.values.unseen.layer_order import tell_order
from weightsmith.values.unseen.mlp_names import feed_forwards
from weightsmith.values.unseen.norm_offset import tell_offset
from weightsmith.values.unseen.sampling import Sampler
from weightsmith.values.unseen.tied import tell_tied
from weightsmith.values.unseen.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.settle.wanted import HeadFields
    from weightsmith.shapes import Inference
    from weightsmith.value_finding import ValueFinding

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


def ask(found: Inference) -> tuple[list[ValueFinding], list[tuple[HeadFields, ValueFinding]]]:
    """All answers, and those of them that tell how wide the heads of some fields are.

    Raises what `TensorReader.read` raises.
    """
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
    return findings, answers


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
