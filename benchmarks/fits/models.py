"""Small checkpoints of many families, random weights: what the caches were recorded on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BASE = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
# Name → (model type, what it has beside or instead; None takes a setting out).
MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {"num_key_value_heads": 4, "head_dim": None}),
    "qwen3": ("qwen3", {}),
    "qwen3_moe": ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}),
    "mistral": ("mistral", {"sliding_window": 128}),
    "gemma2": ("gemma2", {"sliding_window": 128, "num_hidden_layers": 6}),
    "gemma3": ("gemma3_text", {"sliding_window": 128, "num_hidden_layers": 12}),
    "phi3": ("phi3", {"head_dim": None, "original_max_position_embeddings": 512}),
    "gpt_neox": ("gpt_neox", {}),
    "falcon": ("falcon", {"head_dim": None, "multi_query": True, "ffn_hidden_size": 256}),
    "opt": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
    "starcoder2": ("starcoder2", {"sliding_window": None}),
    "olmo2": ("olmo2", {}),
    "gpt_oss": (
        "gpt_oss",
        {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128, "head_dim": 64},
    ),
    "deepseek_v3": (
        "deepseek_v3",
        {
            "kv_lora_rank": 64,
            "q_lora_rank": 32,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 32,
            "v_head_dim": 32,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 64,
            "first_k_dense_replace": 1,
            "num_key_value_heads": 4,
            "head_dim": 64,
        },
    ),
    "cohere2": ("cohere2", {"sliding_window": 128, "num_hidden_layers": 8, "head_dim": None}),
    "glm4": ("glm4", {}),
    "gpt2": ("gpt2", {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 512}),
    "smollm3": ("smollm3", {}),
}
# What vLLM reads of a config and transformers does not write.
_BESIDE = {"deepseek_v3": {"topk_method": "noaux_tc"}}


def make(name: str, folder: Path) -> Path:
    """The checkpoint of that name below `folder`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, own = MODELS[name]
    settings = {
        key: value for key, value in {**_BASE, **own}.items() if key != "head_dim" or value is not None
    }
    config = AutoConfig.for_model(model_type, **settings)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder / name)
    path = folder / name / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **_BESIDE.get(name, {})}, indent=2))
    return folder / name
