"""Small checkpoints of many families, random weights: what the caches were recorded on.

models.json keeps each one's config and the shapes of its tensors, so that nobody has to make them to compare.
"""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEPT = Path(__file__).with_name("models.json")

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
    "starcoder2": ("starcoder2", {"sliding_window": None, "head_dim": None}),
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
    # Layers that keep a state of one size for each sequence, however long it is.
    "mamba": ("mamba", {"state_size": 16, "conv_kernel": 4, "expand": 2, "intermediate_size": 128}),
    "mamba2": (
        "mamba2",
        {
            "num_heads": 8,
            "head_dim": 16,
            "state_size": 16,
            "n_groups": 2,
            "chunk_size": 64,
            "intermediate_size": 128,
        },
    ),
    "bamba": (
        "bamba",
        {
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "mamba_d_state": 160,
            "attn_layer_indices": [1, 3],
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": None,
        },
    ),
    "jamba": (
        "jamba",
        {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 4,
            "mamba_dt_rank": 8,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": None,
        },
    ),
    "falcon_h1": (
        "falcon_h1",
        {
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "mamba_d_ssm": 128,
            "mamba_d_state": 32,
            "mamba_n_groups": 2,
        },
    ),
    "lfm2": (
        "lfm2",
        {
            "layer_types": ["conv", "conv", "full_attention", "conv"],
            "block_auto_adjust_ff_dim": False,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": None,
        },
    ),
    "granitemoehybrid": (
        "granitemoehybrid",
        {
            "layer_types": ["mamba", "mamba", "attention", "mamba"],
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "mamba_d_state": 32,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 64,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": None,
        },
    ),
    "nemotron_h": (
        "nemotron_h",
        {
            "layers_block_type": ["mamba", "attention", "mamba", "mlp"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 16,
            "ssm_state_size": 160,
            "n_groups": 2,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "moe_shared_expert_intermediate_size": 64,
        },
    ),
    "qwen3_next": (
        "qwen3_next",
        {
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 64,
            "linear_value_head_dim": 64,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "shared_expert_intermediate_size": 64,
        },
    ),
    "qwen3_5": (
        "qwen3_5_text",
        {
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 64,
            "linear_value_head_dim": 64,
            "mamba_ssm_dtype": "float32",
        },
    ),
    "olmo_hybrid": (
        "olmo_hybrid",
        {
            "linear_num_key_heads": 4,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 32,
            "linear_value_head_dim": 64,
            "head_dim": None,
        },
    ),
}
# What vLLM reads of a config and transformers does not write, or writes in other words. None takes a setting out.
_BESIDE: Mapping[str, Mapping[str, Any]] = {
    "deepseek_v3": {"topk_method": "noaux_tc"},
    # As it was published, and as no transformers of today writes it.
    "lfm2": {
        "conv_dim": 64,
        "block_dim": 64,
        "block_ff_dim": 96,
        "block_multiple_of": 32,
        "block_ffn_dim_multiplier": 1.0,
    },
    "granitemoehybrid": {"layer_types": ["mamba", "mamba", "attention", "mamba"]},
    "nemotron_h": {"hybrid_override_pattern": "M*M-", "layers_block_type": None},
}


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
    written = {**json.loads(path.read_text()), **_BESIDE.get(name, {})}
    path.write_text(json.dumps({key: value for key, value in written.items() if value is not None}, indent=2))
    return folder / name


def keep(folder: Path) -> None:
    """Writes models.json from all checkpoints below `folder`."""
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.iterdir()):
        with safe_open(path / "model.safetensors", "numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
        found[path.name] = {"config": json.loads((path / "config.json").read_text()), "shapes": shapes}
    lines = (f"{json.dumps(name)}: {json.dumps(one)}" for name, one in found.items())
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def kept(name: str, folder: Path) -> Path:
    """The checkpoint of that name below `folder`, with a hole for its numbers."""
    one = json.loads(KEPT.read_text(encoding="utf-8"))[name]
    return write_headers(folder / name, one["config"], one["shapes"])


def write_headers(
    folder: Path,
    config: Mapping[str, object],
    shapes: Mapping[str, Sequence[int]],
    dtypes: Mapping[str, str] | None = None,
) -> Path:
    """A checkpoint with this config and these tensors, whose file has a hole instead of numbers.

    dtypes: last part of a name -> dtype, BF16 or I8; without one it is BF16.
    """
    header: dict[str, object] = {}
    at = 0
    for name, shape in shapes.items():
        dtype = (dtypes or {}).get(name.rpartition(".")[2], "BF16")
        size = (1 if dtype == "I8" else 2) * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
