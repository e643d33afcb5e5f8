"""Bytes of weights on one card: which tensors are divided among the cards, and which each card has whole.

vLLM divides the projections of attention and MLP, the experts, the embeddings and the head. Norms, routers,
convolutions and projections into a latent that all heads share are on every card (its linear.py: ReplicatedLinear).
"""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def bytes_per_card(
    stored: Iterable[Tensor], packed: frozenset[str], cards: int, width: int, *, tied: bool
) -> int:
    """stored: the checkpoint's tensors. packed: the modules whose numbers stay packed. width: bytes of a float there.

    tied: the head is the embedding, and is not held twice.
    """
    return sum(
        _on_a_card(tensor, packed, cards, width)
        for tensor in stored
        if not (tied and _HEAD.search(tensor.name))
    )


def _on_a_card(tensor: Tensor, packed: frozenset[str], cards: int, width: int) -> int:
    size = tensor.nbytes
    owner = tensor.name.rpartition(".")[0]
    if tensor.dtype in _FLOATS and owner not in packed:
        size = tensor.elements * (4 if _SINGLE.search(tensor.name) else width)
    if _VOCABULARY.search(tensor.name) and len(tensor.shape) == 2:
        rows = ceil(tensor.shape[0] / _PADDING) * _PADDING
        return size // max(1, tensor.shape[0]) * ceil(rows / cards)
    divided = len(tensor.shape) > 1 or (tensor.name.endswith(".bias") and not _INWARD.search(tensor.name))
    if not divided or _WHOLE.search(tensor.name):
        return size
    return ceil(size / cards)
