"""Bytes of weights on one card: which tensors are divided among the cards, and which each card has whole.

vLLM divides the projections of attention and MLP, the experts, the embeddings and the head. Norms, routers,
convolutions and projections into a latent that all heads share are on every card (its linear.py: ReplicatedLinear).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint import Tensor

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
# A router's correction is held in float32, whatever it is stored in (vLLM, DeepseekV2MoE and those made after it).
_SINGLE = re.compile(r"(^|\.)e_score_correction_bias$")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
# vLLM pads a vocabulary to a multiple of this (vocab_parallel_embedding.py, DEFAULT_VOCAB_PADDING_SIZE).
_PADDING = 64


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of a model's weights.

    whole: of what every card has. divided: size of a tensor that is divided among the cards -> how many have it.
    vocabulary: (rows, bytes of a row) of the embedding and the head, which are divided by rows.
    """

    whole: int
    divided: Mapping[int, int]
    vocabulary: tuple[tuple[int, int], ...]

    def on(self, cards: int) -> int:
        """On each of so many cards; the largest share where one is larger."""
        shares = sum(count * ceil(size / cards) for size, count in self.divided.items())
        rows = ((ceil(count / _PADDING) * _PADDING, size) for count, size in self.vocabulary)
        return self.whole + shares + sum(ceil(count / cards) * size for count, size in rows)


def weights_of(stored: Iterable[Tensor], packed: frozenset[str], width: int, *, tied: bool) -> Weights:
    """stored: the checkpoint's tensors. packed: the modules whose numbers stay packed. width: bytes of a float there.

    tied: the head is the embedding, and is not held twice.
    """
    whole, divided, vocabulary = 0, Counter[int](), []
    for tensor in stored:
        size = _size(tensor, packed, width)
        if tied and _HEAD.search(tensor.name):
            continue
        if len(tensor.shape) == 2 and tensor.elements and _VOCABULARY.search(tensor.name):
            vocabulary.append((tensor.shape[0], size // tensor.shape[0]))
        elif _is_divided(tensor):
            divided[size] += 1
        else:
            whole += size
    return Weights(whole, divided, tuple(vocabulary))


def _size(tensor: Tensor, packed: frozenset[str], width: int) -> int:
    """Bytes in the engine, which holds plain floats in the dtype that it computes in."""
    if tensor.dtype not in _FLOATS or tensor.name.rpartition(".")[0] in packed:
        return tensor.nbytes
    return tensor.elements * (4 if _SINGLE.search(tensor.name) else width)


def _is_divided(tensor: Tensor) -> bool:
    outward = tensor.name.endswith(".bias") and not _INWARD.search(tensor.name)
    return (len(tensor.shape) > 1 or outward) and not _WHOLE.search(tensor.name)
