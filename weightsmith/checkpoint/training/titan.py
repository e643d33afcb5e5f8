"""torchtitan's models under the names that transformers knows: Llama 3, Qwen 3 and its experts.

Names and rotation: torchtitan/models/llama3 and qwen3 (state_dict_adapter.py). Its Llama turns neighbours of a head
as pairs, transformers turns the two halves of a head; rows of q and k are therefore written in another order. Its
Qwen, told by the norms of q and k, turns halves as transformers does.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING

from weightsmith.checkpoint.tiling import row_of, rows_of, stacked
from weightsmith.checkpoint.training.facts import asked_width
from weightsmith.checkpoint.training.limits import MOST_EXPERTS, MOST_HEADS, need_few

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.table import Tensor
    from weightsmith.checkpoint.training.facts import Question

EMBEDDING = "tok_embeddings.weight"
_TOP = {
    EMBEDDING: "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "lm_head.weight": "lm_head.weight",
}
_LAYER = re.compile(r"layers\.([0-9]{1,5})\.(.+)")
# The largest vocabularies have 300,000 words.
_MOST_ROWS = 1 << 24
# The three projections lie in a module of their own since 0.3.
_IN_LAYER = {
    "attention.wq.weight": "self_attn.q_proj.weight",
    "attention.wk.weight": "self_attn.k_proj.weight",
    "attention.wv.weight": "self_attn.v_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "attention.q_norm.weight": "self_attn.q_norm.weight",
    "attention.k_norm.weight": "self_attn.k_norm.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "moe.router.gate.weight": "mlp.gate.weight",
}
_TURNED = ("self_attn.q_proj.weight", "self_attn.k_proj.weight")
# [experts, rows, columns]: each expert as a matrix of its own.
_EXPERTS = re.compile(r"moe\.(?:routed_experts\.inner_)?experts\.w([123])(?:_EFD|_EDF)?")
_OF_EXPERT = {"1": "gate_proj", "3": "up_proj", "2": "down_proj"}


def released_titan(
    tensors: Mapping[str, Tensor], head_dim: int | None
) -> tuple[dict[str, Tensor], tuple[Question, ...]]:
    """(the table with the model's tensors under the names of a release, what must be known before).

    head_dim: width of a head, where it is known. Tensors of other names stay: they are the run's state. A table that is
    none of torchtitan's comes back as it is, and so does one with a question.
    """
    named = {name: inner for name in tensors if (inner := _inner(name)) is not None}
    if EMBEDDING not in tensors or not any(".attention.w" in name for name in named.values()):
        return dict(tensors), ()
    if any(not tensors[name].shape or tensors[name].shape[0] > _MOST_ROWS for name in named):
        return dict(tensors), ()  # no parameters of any model
    halves = any(name.endswith(".attention.q_norm.weight") for name in tensors)
    if not halves and head_dim is None:
        sizes = gcd(*(tensors[name].shape[0] for name, inner in named.items() if _is_turned(inner)))
        why = "torchtitan's Llama orders the rows of q and k within each head"
        return dict(tensors), (asked_width(sizes, why),)
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in named:
            turned = head_dim if not halves and _is_turned(named[name]) else None
            found |= _released(named[name], tensor, turned)
        else:
            found[name] = tensor
    return found, ()


def _inner(name: str) -> str | None:
    """The name as it has been since the first version; None where it is none of the model's."""
    if name in _TOP:
        return name
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return None
    inner = layer[2].replace("attention.qkv_linear.", "attention.", 1)
    return f"layers.{layer[1]}.{inner}" if inner in _IN_LAYER or _EXPERTS.fullmatch(inner) else None


def _is_turned(inner: str) -> bool:
    layer = _LAYER.fullmatch(inner)
    return layer is not None and _IN_LAYER.get(layer[2]) in _TURNED


def _released(inner: str, tensor: Tensor, head_dim: int | None) -> dict[str, Tensor]:
    layer = _LAYER.fullmatch(inner)
    if layer is None:
        return {_TOP[inner]: replace(tensor, name=_TOP[inner])}
    at = f"model.layers.{int(layer[1])}."
    experts = _EXPERTS.fullmatch(layer[2])
    if experts is not None:
        need_few(inner, tensor.shape[0], MOST_EXPERTS, "experts")
        if len(tensor.shape) != 3:
            raise ValueError(f"{inner} has shape {list(tensor.shape)}, and experts have three axes")
        return {
            (name := f"{at}mlp.experts.{n}.{_OF_EXPERT[experts[1]]}.weight"): replace(
                row_of(tensor, n), name=name
            )
            for n in range(tensor.shape[0])
        }
    name = at + _IN_LAYER[layer[2]]
    return {name: halves_of_pairs(name, tensor, head_dim) if head_dim else replace(tensor, name=name)}


def halves_of_pairs(name: str, tensor: Tensor, head_dim: int) -> Tensor:
    """Rows (pair, side) of each head as rows (side, pair): those of even numbers in the head, then those of odd ones.

    Raises ValueError where heads of this width do not make up its rows.
    """
    rows = tensor.shape[0]
    need_few(name, rows // head_dim, MOST_HEADS, "heads")
    if rows % head_dim or head_dim % 2:
        raise ValueError(f"{rows} rows are no heads of {head_dim}")
    parts = [
        rows_of(tensor, head + side, head + head_dim, 2)
        for head in range(0, rows, head_dim)
        for side in (0, 1)
    ]
    return stacked(name, parts)
