"""Bytes of weights on one card: which tensors are divided among the cards, and which each card has whole.

vLLM divides the projections of attention and MLP, the experts, the embeddings and the head. Norms, routers,
convolutions and projections into a latent that all heads share are on every card (its linear.py: ReplicatedLinear).
Stages of a pipeline have layers of their own, and so may the cards have experts of their own.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.fits.division import stage_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.fits.division import Division

_WHOLE = re.compile(
    r"(^|\.)(gate|router|wg|shared_expert_gate|q_a_proj|kv_a_proj_with_mqa|kv_a_proj|fused_qkv_a_proj|conv\w*|\w*norm\w*|"
    r"ln_\w+|rotary\w*|patch_embed\w*|position_embeddings?|pos_embed\w*|embed_positions|wpe|class_embedding)(\.|$)"
)
# The bias of a projection back into the model's width is on every card; those of the others are divided with them.
_INWARD = re.compile(r"(^|\.)(o_proj|out_proj|down_proj|c_proj|fc2|w2|wo|dense|dense_4h_to_h)\.bias$")
_VOCABULARY = re.compile(
    r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|lm_head|output|embed_out)\.weight$"
)
_HEAD = re.compile(r"(^|\.)(lm_head|output|embed_out)\.weight$")
# Parameters of layers that keep a state are divided with their heads.
_OF_STATES = re.compile(r"(^|\.)(A_log|D|dt_bias|\w*conv1d\.(weight|bias)|conv\.conv\.(weight|bias))$")
# A router's correction and the decay of a state are held in float32, whatever they are stored in (vLLM, DeepseekV2MoE
# and those made after it; MambaMixer, MambaMixer2 and GatedDeltaNetAttention).
_SINGLE = re.compile(r"(^|\.)(e_score_correction_bias|A_log)$")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_EXPERT = re.compile(r"(^|\.)experts\.(?:(\d+)\.)?")
_LAYER = re.compile(r"\.(\d+)\.")
# Layers beside a model's own, which serve speculation alone: no engine loads them unless it is told to.
_DRAFTS = re.compile(r"(^|\.)mtp\w*\.")
# vLLM pads a vocabulary to a multiple of this (vocab_parallel_embedding.py, DEFAULT_VOCAB_PADDING_SIZE).
_PADDING = 64


# Where in the model a tensor is: the number of its layer, or one of these.
_FIRST, _LAST, _BOTH, _EVERY = -1, -2, -3, -4
How: TypeAlias = Literal["whole", "divided", "vocabulary", "expert", "expert, whole"]


@dataclass(frozen=True, slots=True)
class Lot:
    """Tensors of one size in one place. size: bytes of each, of an expert's share where it holds all of them, and of a
    row of a vocabulary. rows: of a vocabulary.
    """

    place: int
    how: How
    size: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's tensors. lots: how many there are of each. layers, experts: how many the model has."""

    lots: Mapping[Lot, int]
    layers: int
    experts: int

    def on(self, division: Division) -> int:
        """Bytes on the card that has most."""
        stages = [0] * division.stages
        for lot, count in self.lots.items():
            size = self._share(lot, count, division)
            for stage in self._stages(lot.place, division.stages):
                stages[stage] += size
        return max(stages)

    def _stages(self, place: int, stages: int) -> Iterable[int]:
        if place == _EVERY:
            return range(stages)
        if place == _BOTH:
            return {0, stages - 1}
        if place in {_FIRST, _LAST}:
            return (0,) if place == _FIRST else (stages - 1,)
        return (stage_of(place, self.layers, stages),)

    def _share(self, lot: Lot, count: int, division: Division) -> int:
        if lot.how == "whole":
            return lot.size * count
        if lot.how == "divided":
            return ceil(lot.size / division.cards) * count
        if lot.how == "vocabulary":
            rows = ceil(lot.rows / _PADDING) * _PADDING
            return ceil(rows / division.cards) * lot.size * count
        if division.by_expert:
            held = ceil(self.experts / division.of_experts)
            return lot.size * (count // self.experts) * held
        return count * (lot.size if lot.how == "expert, whole" else ceil(lot.size / division.of_experts))


def weights_of(
    stored: Iterable[Tensor], packed: frozenset[str], width: int, stack: str, layers: int, *, tied: bool
) -> Weights:
    """stored: the checkpoint's tensors. packed: the modules whose numbers stay packed. width: bytes of a float there.
    stack: what stands before the numbers of the decoder's layers. layers: how many it has.

    tied: the head is the embedding, and is not held twice.
    """
    lots, experts = Counter[Lot](), 1
    for tensor in stored:
        place = _place(tensor, stack, layers, tied)
        if place is None:
            continue
        size = _size(tensor, packed, width)
        expert = _EXPERT.search(tensor.name)
        if expert is not None:
            count = 1 if expert[2] else tensor.shape[0] if tensor.shape else 1
            experts = max(experts, int(expert[2]) + 1 if expert[2] else count)
            how: How = "expert" if _is_divided(tensor) else "expert, whole"
            lots[Lot(place, how, size // max(1, count))] += count
        elif len(tensor.shape) == 2 and tensor.elements and _VOCABULARY.search(tensor.name):
            lots[Lot(place, "vocabulary", size // tensor.shape[0], tensor.shape[0])] += 1
        else:
            lots[Lot(place, "divided" if _is_divided(tensor) else "whole", size)] += 1
    return Weights(lots, layers, experts)


def _place(tensor: Tensor, stack: str, layers: int, tied: bool) -> int | None:
    """Where it is; None where no engine loads it."""
    name = tensor.name
    if _DRAFTS.search(name) or (tied and _HEAD.search(name)):
        return None
    if stack and name.startswith(stack + "."):
        number = _LAYER.match(name, len(stack))
        if number is not None:
            return int(number[1]) if int(number[1]) < layers else None
    if _HEAD.search(name):
        return _LAST
    if _VOCABULARY.search(name):
        return _BOTH if tied else _FIRST
    return _LAST if stack and name.startswith(stack.rpartition(".")[0]) else _EVERY


def _size(tensor: Tensor, packed: frozenset[str], width: int) -> int:
    """Bytes in the engine, which holds plain floats in the dtype that it computes in."""
    if tensor.dtype not in _FLOATS or tensor.name.rpartition(".")[0] in packed:
        return tensor.nbytes
    return tensor.elements * (4 if _SINGLE.search(tensor.name) else width)


def _is_divided(tensor: Tensor) -> bool:
    if _OF_STATES.search(tensor.name):
        return True
    outward = tensor.name.endswith(".bias") and not _INWARD.search(tensor.name)
    return (len(tensor.shape) > 1 or outward) and not _WHOLE.search(tensor.name)
