"""Family pages written by hand for the solver's tests: each stresses one idiom of real architectures.

They are not part of the catalog. Every one is checked against transformers' own model class by the tests.
"""

from __future__ import annotations

from typing import Any

from weightsmith.shapes.page.page import Page, parse_page

_LAYER = "model.layers.{layer:num_hidden_layers}."
_HEAD_RULE = "hidden_size % num_attention_heads == 0"
_EMBEDDINGS = {
    "model.embed_tokens.weight": "vocab_size, hidden_size",
    "model.norm.weight": "hidden_size",
    "lm_head.weight": "vocab_size, hidden_size if not tie_word_embeddings",
}
_NORMS = {
    _LAYER + "input_layernorm.weight": "hidden_size",
    _LAYER + "post_attention_layernorm.weight": "hidden_size",
}
_COPIES = {"lm_head.weight": "model.embed_tokens.weight"}


def _attention(bias: bool = False) -> dict[str, str]:
    shapes = {
        "q_proj": ("num_attention_heads * head_dim", "hidden_size"),
        "k_proj": ("num_key_value_heads * head_dim", "hidden_size"),
        "v_proj": ("num_key_value_heads * head_dim", "hidden_size"),
        "o_proj": ("hidden_size", "num_attention_heads * head_dim"),
    }
    equations = {f"{_LAYER}self_attn.{name}.weight": f"{a}, {b}" for name, (a, b) in shapes.items()}
    if bias:
        equations |= {f"{_LAYER}self_attn.{name}.bias": a for name, (a, _) in shapes.items()}
    return equations


_FALCON_LAYER = "transformer.h.{layer:num_hidden_layers}."
_FALCON: dict[str, Any] = {
    # Fused QKV where head_dim is hidden // heads inside the equation.
    "model_type": "falcon",
    "fields": {
        "hidden_size": 4544,
        "num_hidden_layers": 32,
        "num_attention_heads": 71,
        "num_kv_heads": "= num_attention_heads",
        "ffn_hidden_size": "= hidden_size * 4",
        "vocab_size": 65024,
        "bias": False,
        "tie_word_embeddings": True,
    },
    "rules": [_HEAD_RULE, "num_attention_heads % num_kv_heads == 0"],
    "copies": {"lm_head.weight": "transformer.word_embeddings.weight"},
    "tensors": {
        "transformer.word_embeddings.weight": "vocab_size, hidden_size",
        _FALCON_LAYER + "self_attention.query_key_value.weight": (
            "(num_attention_heads + 2 * num_kv_heads) * (hidden_size // num_attention_heads), hidden_size"
        ),
        _FALCON_LAYER + "self_attention.query_key_value.bias": (
            "(num_attention_heads + 2 * num_kv_heads) * (hidden_size // num_attention_heads) if bias"
        ),
        _FALCON_LAYER + "self_attention.dense.weight": "hidden_size, hidden_size",
        _FALCON_LAYER + "self_attention.dense.bias": "hidden_size if bias",
        _FALCON_LAYER + "mlp.dense_h_to_4h.weight": "ffn_hidden_size, hidden_size",
        _FALCON_LAYER + "mlp.dense_h_to_4h.bias": "ffn_hidden_size if bias",
        _FALCON_LAYER + "mlp.dense_4h_to_h.weight": "hidden_size, ffn_hidden_size",
        _FALCON_LAYER + "mlp.dense_4h_to_h.bias": "hidden_size if bias",
        _FALCON_LAYER + "ln_attn.weight": "hidden_size",
        _FALCON_LAYER + "ln_attn.bias": "hidden_size",
        _FALCON_LAYER + "ln_mlp.weight": "hidden_size",
        _FALCON_LAYER + "ln_mlp.bias": "hidden_size",
        "transformer.ln_f.weight": "hidden_size",
        "transformer.ln_f.bias": "hidden_size",
        "lm_head.weight": "vocab_size, hidden_size if not tie_word_embeddings",
    },
}

_PHI3: dict[str, Any] = {
    "model_type": "phi3",
    "fields": {
        "hidden_size": 3072,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": "= num_attention_heads",
        "intermediate_size": 8192,
        "vocab_size": 32064,
        "tie_word_embeddings": False,
    },
    "rules": [_HEAD_RULE, "num_attention_heads % num_key_value_heads == 0"],
    "copies": _COPIES,
    "tensors": {
        **_EMBEDDINGS,
        **_NORMS,
        _LAYER + "self_attn.qkv_proj.weight": (
            "(num_attention_heads + 2 * num_key_value_heads) * (hidden_size // num_attention_heads), hidden_size"
        ),
        _LAYER + "self_attn.o_proj.weight": "hidden_size, hidden_size",
        _LAYER + "mlp.gate_up_proj.weight": "2 * intermediate_size, hidden_size",
        _LAYER + "mlp.down_proj.weight": "hidden_size, intermediate_size",
    },
}

_MIXTRAL_EXPERT = _LAYER + "block_sparse_moe.experts.{expert:num_local_experts}."
_MIXTRAL: dict[str, Any] = {
    # One tensor per expert.
    "model_type": "mixtral",
    "fields": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": "= hidden_size // num_attention_heads",
        "intermediate_size": 14336,
        "num_local_experts": 8,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
    "rules": ["num_attention_heads % num_key_value_heads == 0", "head_dim % 2 == 0"],
    "copies": _COPIES,
    "tensors": {
        **_EMBEDDINGS,
        **_NORMS,
        **_attention(),
        _LAYER + "block_sparse_moe.gate.weight": "num_local_experts, hidden_size",
        _MIXTRAL_EXPERT + "w1.weight": "intermediate_size, hidden_size",
        _MIXTRAL_EXPERT + "w2.weight": "hidden_size, intermediate_size",
        _MIXTRAL_EXPERT + "w3.weight": "intermediate_size, hidden_size",
    },
}

_GPT_OSS: dict[str, Any] = {
    # Experts stacked in one tensor; the attention sinks count the heads.
    "model_type": "gpt_oss",
    "fields": {
        "hidden_size": 2880,
        "num_hidden_layers": 36,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 2880,
        "num_local_experts": 128,
        "vocab_size": 201088,
        "tie_word_embeddings": False,
    },
    "copies": _COPIES,
    "tensors": {
        **_EMBEDDINGS,
        **_NORMS,
        **_attention(bias=True),
        _LAYER + "self_attn.sinks": "num_attention_heads",
        _LAYER + "mlp.router.weight": "num_local_experts, hidden_size",
        _LAYER + "mlp.router.bias": "num_local_experts",
        _LAYER + "mlp.experts.gate_up_proj": "num_local_experts, hidden_size, 2 * intermediate_size",
        _LAYER + "mlp.experts.gate_up_proj_bias": "num_local_experts, 2 * intermediate_size",
        _LAYER + "mlp.experts.down_proj": "num_local_experts, intermediate_size, hidden_size",
        _LAYER + "mlp.experts.down_proj_bias": "num_local_experts, hidden_size",
    },
}

_MOE = " if layer >= first_k_dense_replace"
_DENSE = " if layer < first_k_dense_replace"
_ROUTED = _LAYER + "mlp.experts.{expert:n_routed_experts}."
_DEEPSEEK: dict[str, Any] = {
    # Multi-head latent attention, and dense layers before those with experts.
    "model_type": "deepseek_v3",
    "fields": {
        "hidden_size": 7168,
        "num_hidden_layers": 61,
        "num_attention_heads": 128,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "first_k_dense_replace": 3,
        "vocab_size": 129280,
        "tie_word_embeddings": False,
    },
    "copies": _COPIES,
    "tensors": {
        **_EMBEDDINGS,
        **_NORMS,
        _LAYER + "self_attn.q_a_proj.weight": "q_lora_rank, hidden_size if q_lora_rank is not None",
        _LAYER + "self_attn.q_a_layernorm.weight": "q_lora_rank if q_lora_rank is not None",
        _LAYER + "self_attn.q_b_proj.weight": (
            "num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim), q_lora_rank if q_lora_rank is not None"
        ),
        _LAYER + "self_attn.q_proj.weight": (
            "num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim), hidden_size if q_lora_rank is None"
        ),
        _LAYER + "self_attn.kv_a_proj_with_mqa.weight": "kv_lora_rank + qk_rope_head_dim, hidden_size",
        _LAYER + "self_attn.kv_a_layernorm.weight": "kv_lora_rank",
        _LAYER + "self_attn.kv_b_proj.weight": (
            "num_attention_heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank"
        ),
        _LAYER + "self_attn.o_proj.weight": "hidden_size, num_attention_heads * v_head_dim",
        _LAYER + "mlp.gate_proj.weight": "intermediate_size, hidden_size" + _DENSE,
        _LAYER + "mlp.up_proj.weight": "intermediate_size, hidden_size" + _DENSE,
        _LAYER + "mlp.down_proj.weight": "hidden_size, intermediate_size" + _DENSE,
        _LAYER + "mlp.gate.weight": "n_routed_experts, hidden_size" + _MOE,
        _LAYER + "mlp.gate.e_score_correction_bias": "n_routed_experts" + _MOE,
        _ROUTED + "gate_proj.weight": "moe_intermediate_size, hidden_size" + _MOE,
        _ROUTED + "up_proj.weight": "moe_intermediate_size, hidden_size" + _MOE,
        _ROUTED + "down_proj.weight": "hidden_size, moe_intermediate_size" + _MOE,
        **{
            f"{_LAYER}mlp.shared_experts.{name}_proj.weight": shape + _MOE
            for name, shape in {
                "gate": "n_shared_experts * moe_intermediate_size, hidden_size",
                "up": "n_shared_experts * moe_intermediate_size, hidden_size",
                "down": "hidden_size, n_shared_experts * moe_intermediate_size",
            }.items()
        },
    },
}

HANDMADE: dict[str, Page] = {
    data["model_type"]: parse_page(data) for data in (_FALCON, _PHI3, _MIXTRAL, _GPT_OSS, _DEEPSEEK)
}
