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
_NUMBERS = re.compile(r"(?<=\.)\d+(?=\.)")
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


@dataclass(frozen=True, slots=True)
class _Traits:
    """What a tensor's name tells, whatever the numbers in it. expert: of a routed expert, or of all of them."""

    draft: bool
    head: bool
    vocabulary: bool
    expert: bool
    single: bool
    whole: bool
    of_state: bool
    outward: bool

    @staticmethod
    def of(name: str) -> _Traits:
        return _Traits(
            bool(_DRAFTS.search(name)),
            bool(_HEAD.search(name)),
            bool(_VOCABULARY.search(name)),
            bool(_EXPERT.search(name)),
            bool(_SINGLE.search(name)),
            bool(_WHOLE.search(name)),
            bool(_OF_STATES.search(name)),
            name.endswith(".bias") and not _INWARD.search(name),
        )

    def divides(self, shape: tuple[int, ...]) -> bool:
        return self.of_state or ((len(shape) > 1 or self.outward) and not self.whole)


def weights_of(
    stored: Iterable[Tensor], packed: frozenset[str], width: int, stack: str, layers: int, *, tied: bool
) -> Weights:
    """stored: the checkpoint's tensors. packed: the modules whose numbers stay packed. width: bytes of a float there.
    stack: what stands before the numbers of the decoder's layers. layers: how many it has.

    tied: the head is the embedding, and is not held twice.
    """
    lots, experts = Counter[Lot](), 1
    known: dict[str, _Traits] = {}  # a model has few names, and each of them for many layers and experts
    for tensor in stored:
        bare = _NUMBERS.sub("0", tensor.name)
        traits = known.get(bare) or known.setdefault(bare, _Traits.of(bare))
        if traits.draft or (tied and traits.head):
            continue
        place = _place(tensor.name, traits, stack, layers, tied)
        if place is None:
            continue
        size = _size(tensor, packed, width, traits.single)
        divides = traits.divides(tensor.shape)
        if traits.expert:
            number = _EXPERT.search(tensor.name)
            single = number is not None and number[2] is not None
            count = 1 if single else max(1, *tensor.shape[:1])
            experts = max(experts, int(number[2]) + 1 if number is not None and single else count)
            lots[Lot(place, "expert" if divides else "expert, whole", size // count)] += count
        elif traits.vocabulary and len(tensor.shape) == 2 and tensor.elements:
            lots[Lot(place, "vocabulary", size // tensor.shape[0], tensor.shape[0])] += 1
        else:
            lots[Lot(place, "divided" if divides else "whole", size)] += 1
    return Weights(lots, layers, experts)


def _place(name: str, traits: _Traits, stack: str, layers: int, tied: bool) -> int | None:
    """Where a tensor is; None where no engine loads it: in layers behind the last, which serve speculation."""
    if stack and name.startswith(stack + "."):
        number = name[len(stack) + 1 :].partition(".")[0]
        if number.isdecimal():
            return int(number) if int(number) < layers else None
    if traits.head:
        return _LAST
    if traits.vocabulary:
        return _BOTH if tied else _FIRST
    return _LAST if stack and name.startswith(stack.rpartition(".")[0]) else _EVERY


def _size(tensor: Tensor, packed: frozenset[str], width: int, single: bool) -> int:
    """Bytes in the engine, which holds plain floats in the dtype that it computes in. single: it holds float32."""
    if tensor.dtype not in _FLOATS or tensor.name.rpartition(".")[0] in packed:
        return tensor.nbytes
    return tensor.elements * (4 if single else width)
