"""Megatron's names: how each parameter is cut among tensor-parallel ranks, and what transformers calls it.

Sources: megatron/core/tensor_parallel/layers.py (ColumnParallelLinear cuts rows, RowParallelLinear columns),
transformer/{attention,multi_latent_attention,mlp}.py, transformer/moe; Megatron-LM's older language_model.py, whose
names MindSpeed keeps for its legacy models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

# rows, columns: cut along that axis. gated: each rank has rows of the gate, then as many of the other projection.
# qkv: rows, for each group of heads those of its queries, its key and its value. same: every rank has all of it.
# either: all or rows, as the version of Megatron has it; only the numbers tell.
Cut = Literal["rows", "columns", "gated", "qkv", "same", "either"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """How a parameter is cut, and its names in a layer of transformers: two where gated, three where qkv."""

    cut: Cut
    released: tuple[str, ...]


def _one(cut: Cut, *released: str) -> Parameter:
    return Parameter(cut, released)


_MLP = ("gate_proj", "up_proj")
EMBEDDING, NORM, HEAD = (
    "embedding.word_embeddings.weight",
    "decoder.final_layernorm.weight",
    "output_layer.weight",
)
TOP = {
    EMBEDDING: _one("rows", "model.embed_tokens.weight"),
    NORM: _one("same", "model.norm.weight"),
    HEAD: _one("rows", "lm_head.weight"),
}
QKV, PROJECTION = "self_attention.linear_qkv.weight", "self_attention.linear_proj.weight"
QUERY_NORM = "self_attention.q_layernorm.weight"
ROUTER = "mlp.router.weight"
IN_LAYER = {
    "input_layernorm.weight": _one("same", "input_layernorm.weight"),
    "self_attention.linear_qkv.layer_norm_weight": _one("same", "input_layernorm.weight"),
    QKV: _one("qkv", *(f"self_attn.{part}_proj.weight" for part in "qkv")),
    "self_attention.linear_qkv.bias": _one("qkv", *(f"self_attn.{part}_proj.bias" for part in "qkv")),
    PROJECTION: _one("columns", "self_attn.o_proj.weight"),
    "self_attention.linear_proj.bias": _one("same", "self_attn.o_proj.bias"),
    QUERY_NORM: _one("same", "self_attn.q_norm.weight"),
    "self_attention.k_layernorm.weight": _one("same", "self_attn.k_norm.weight"),
    "pre_mlp_layernorm.weight": _one("same", "post_attention_layernorm.weight"),
    "mlp.linear_fc1.layer_norm_weight": _one("same", "post_attention_layernorm.weight"),
    "mlp.linear_fc1.weight": _one("gated", *(f"mlp.{part}.weight" for part in _MLP)),
    "mlp.linear_fc1.bias": _one("gated", *(f"mlp.{part}.bias" for part in _MLP)),
    "mlp.linear_fc2.weight": _one("columns", "mlp.down_proj.weight"),
    "mlp.linear_fc2.bias": _one("same", "mlp.down_proj.bias"),
    ROUTER: _one("same", "mlp.gate.weight"),
    "mlp.router.expert_bias": _one("same", "mlp.gate.e_score_correction_bias"),
    "mlp.shared_experts.linear_fc1.weight": _one(
        "gated", *(f"mlp.shared_experts.{part}.weight" for part in _MLP)
    ),
    "mlp.shared_experts.linear_fc2.weight": _one("columns", "mlp.shared_experts.down_proj.weight"),
    "mlp.shared_experts.gate_weight": _one("same", "mlp.shared_expert_gate.weight"),
}
# Attention through low ranks (MLA): the query norm is that of the query's low rank there.
LATENT = "self_attention.linear_kv_down_proj.weight"
IN_LATENT_LAYER = {
    "self_attention.linear_q_proj.weight": _one("rows", "self_attn.q_proj.weight"),
    "self_attention.linear_q_down_proj.weight": _one("either", "self_attn.q_a_proj.weight"),
    "self_attention.linear_q_up_proj.weight": _one("rows", "self_attn.q_b_proj.weight"),
    "self_attention.linear_q_up_proj.layer_norm_weight": _one("same", "self_attn.q_a_layernorm.weight"),
    QUERY_NORM: _one("same", "self_attn.q_a_layernorm.weight"),
    LATENT: _one("either", "self_attn.kv_a_proj_with_mqa.weight"),
    "self_attention.linear_kv_up_proj.weight": _one("rows", "self_attn.kv_b_proj.weight"),
    "self_attention.linear_kv_up_proj.layer_norm_weight": _one("same", "self_attn.kv_a_layernorm.weight"),
    "self_attention.kv_layernorm.weight": _one("same", "self_attn.kv_a_layernorm.weight"),
}
IN_EXPERT = {
    "linear_fc1.weight": _one("gated", "gate_proj.weight", "up_proj.weight"),
    "linear_fc2.weight": _one("columns", "down_proj.weight"),
}
LAYER = re.compile(r"decoder\.layers\.([0-9]{1,5})\.(.+)")
# A layer's expert: one by one, or numbered weights of a grouped product (Transformer Engine).
EXPERT = re.compile(
    r"mlp\.experts\.(?:(?:local_experts\.)?([0-9]{1,5})\.(linear_fc[12]\.weight)|(linear_fc[12]\.weight)([0-9]{1,5}))"
)
# All experts of a rank in one matrix (the older grouped product), which states [hidden, experts * 2 * inner] and
# [experts * inner, hidden].
GROUPED = {"mlp.experts.weight1": "linear_fc1.weight", "mlp.experts.weight2": "linear_fc2.weight"}
# No weights: settings of the quantizer, and what is computed anew.
_BESIDE = re.compile(r"(.*\.)?(_extra_state|inv_freq|local_tokens_per_expert|.*_amax_history.*)(/.*)?")
# Heads that guess several tokens ahead stand beside the model.
AHEAD = "mtp."
_OLDER = (
    (re.compile(r"^(language_model\.)?(encoder|transformer)\."), "decoder."),
    (re.compile(r"^language_model\."), ""),
    (re.compile(r"\.attention\."), ".self_attention."),
    (re.compile(r"\.query_key_value\."), ".linear_qkv."),
    (re.compile(r"\.self_attention\.dense\."), ".self_attention.linear_proj."),
    (re.compile(r"\.dense_h_to_4h\."), ".linear_fc1."),
    (re.compile(r"\.dense_4h_to_h\."), ".linear_fc2."),
    (re.compile(r"\.input_norm\."), ".input_layernorm."),
    (re.compile(r"\.post_attention_(layer)?norm\."), ".pre_mlp_layernorm."),
    (re.compile(r"\.final_norm\."), ".final_layernorm."),
)


def canonical(name: str) -> str | None:
    """Megatron-core's name of a parameter; None for what holds no weights."""
    if _BESIDE.fullmatch(name):
        return None
    name = name.removeprefix("module.")
    if name.startswith(("language_model.", "encoder.", "transformer.")):
        for pattern, new in _OLDER:
            name = pattern.sub(new, name)
    return name
