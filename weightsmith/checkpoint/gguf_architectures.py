"""The architectures of llama.cpp that are known here, as data: names of tensors, what is done to them, and settings.

Names: gguf 0.19.0, gguf/tensor_mapping.py. What llama.cpp does to tensors and which entries it writes:
convert_hf_to_gguf.py; back again: transformers 5.19, modeling_gguf_pytorch_utils.py, which is the judge of each of
these (tests/converters/test_gguf_architectures.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import Json

# Where the number of an expert stands in a name: of a tensor that holds them all, each is a tensor of its own.
EXPERT = "{expert}"


_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_SIZES = {
    "hidden_size": "embedding_length", "intermediate_size": "feed_forward_length", "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
}  # fmt: skip
_NUMBERS = {"rms_norm_eps": "attention.layer_norm_rms_epsilon"}


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture, and the model of transformers that it is.

    layer, outside: names of modules, inside a layer and outside of it.
    sizes, numbers: keys of the config, and the entries that hold these whole numbers and float32.
    settings: of the config, which the architecture alone says.
    turned: llama.cpp puts rows of queries and keys side by side that are rotated together.
    norms_less_one: it adds one to the weights of norms.
    one_row: modules whose weight is a matrix of one row, and is stored as a vector.
    told: settings of which llama.cpp writes no entry: it takes them from whether this tensor is there.
    partial: the config's key for the share of a head that is rotated; None where all of it is.
    windowed: whether the config has a sliding window.
    scaled: of a config with query_pre_attn_scalar, of which no entry tells: the layers of the one model where it is
    hidden size / heads; else it is the width of a head (llama.cpp, src/llama-model.cpp, f_attention_scale).
    """

    model_type: str
    loader: str
    layer: Mapping[str, str]
    outside: Mapping[str, str] = field(default_factory=lambda: _OUTSIDE)
    sizes: Mapping[str, str] = field(default_factory=lambda: _SIZES)
    numbers: Mapping[str, str] = field(default_factory=lambda: _NUMBERS)
    settings: Mapping[str, Json] = field(default_factory=dict)
    told: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    turned: bool = False
    norms_less_one: bool = False
    one_row: frozenset[str] = frozenset()
    partial: str | None = None
    windowed: bool = False
    scaled: int | None = None


_ATTENTION = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
}  # fmt: skip
_HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_GATED = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_LAST_NORM = {"ffn_norm": "post_attention_layernorm"}
_EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    **{f"ffn_{part}_exps": f"mlp.experts.{EXPERT}.{part}_proj" for part in ("gate", "up", "down")},
}
_SHARED = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    **{f"ffn_{part}_shexp": f"mlp.shared_expert.{part}_proj" for part in ("gate", "up", "down")},
}
_EXPERT_SIZES = {
    "num_experts": "expert_count", "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
}  # fmt: skip
_FOUR_NORMS = {
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}  # fmt: skip
_LLAMA = {**_ATTENTION, **_GATED, **_LAST_NORM}
_TWO_LAYERS = {**_ATTENTION, **_LAST_NORM}

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", "LlamaForCausalLM", _LLAMA, turned=True),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", _LLAMA),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", {**_LLAMA, **_HEAD_NORMS}),
    "qwen2moe": Architecture(
        "qwen2_moe",
        "Qwen2MoeForCausalLM",
        {**_LLAMA, **_EXPERTS, **_SHARED},
        sizes={
            **_SIZES, **_EXPERT_SIZES, "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
        },
        one_row=frozenset({"ffn_gate_inp_shexp"}),
    ),
    "qwen3moe": Architecture(
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        {**_LLAMA, **_HEAD_NORMS, **_EXPERTS},
        sizes={**_SIZES, **_EXPERT_SIZES},
        # llama.cpp, src/models/qwen3moe.cpp: the weights of the chosen experts are normed.
        settings={"norm_topk_prob": True},
    ),
    "gemma2": Architecture(
        "gemma2",
        "Gemma2ForCausalLM",
        {**_ATTENTION, **_GATED, **_FOUR_NORMS},
        numbers={
            **_NUMBERS, "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping",
        },
        norms_less_one=True,
        windowed=True,
        scaled=46,
    ),
    "gemma3": Architecture(
        "gemma3_text",
        "Gemma3ForCausalLM",
        {**_ATTENTION, **_GATED, **_FOUR_NORMS, **_HEAD_NORMS},
        norms_less_one=True,
        windowed=True,
        scaled=62,
    ),
    "phi3": Architecture(
        "phi3",
        "Phi3ForCausalLM",
        {
            "attn_norm": "input_layernorm", "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj",
            "ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj", **_LAST_NORM,
        },
        partial="partial_rotary_factor",
        windowed=True,
    ),
    "starcoder2": Architecture(
        "starcoder2",
        "Starcoder2ForCausalLM",
        {**_TWO_LAYERS, "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
        numbers={"norm_epsilon": "attention.layer_norm_epsilon"},
    ),
    "stablelm": Architecture(
        "stablelm",
        "StableLmForCausalLM",
        _LLAMA,
        numbers={"layer_norm_eps": "attention.layer_norm_epsilon"},
        told={
            "use_qkv_bias": ("blk.0.attn_q.bias", True), "use_parallel_residual": ("blk.0.ffn_norm.weight", False),
        },
        partial="partial_rotary_factor",
    ),
    "nemotron": Architecture(
        "nemotron",
        "NemotronForCausalLM",
        {**_TWO_LAYERS, "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"},
        numbers={"norm_eps": "attention.layer_norm_epsilon"},
        norms_less_one=True,
        partial="partial_rotary_factor",
    ),
}  # fmt: skip
