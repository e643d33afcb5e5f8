"""Small sound checkpoints to be made hostile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_hidden_layers": 2,
    "vocab_size": 96,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def llama_shapes(layers: int = 2) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Llama as CONFIG describes it."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (96, 32)}
    for layer in range(layers):
        block = f"model.layers.{layer}"
        shapes |= {
            f"{block}.self_attn.q_proj.weight": (32, 32),
            f"{block}.self_attn.k_proj.weight": (16, 32),
            f"{block}.self_attn.v_proj.weight": (16, 32),
            f"{block}.self_attn.o_proj.weight": (32, 32),
            f"{block}.mlp.gate_proj.weight": (64, 32),
            f"{block}.mlp.up_proj.weight": (64, 32),
            f"{block}.mlp.down_proj.weight": (32, 64),
            f"{block}.input_layernorm.weight": (32,),
            f"{block}.post_attention_layernorm.weight": (32,),
        }
    return {**shapes, "model.norm.weight": (32,), "lm_head.weight": (96, 32)}


def write_llama(folder: Path, config: Mapping[str, object] | None = CONFIG) -> Path:
    """A sound two-layer Llama (random float32 weights) with this config, or with none."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    tensors = {
        name: random.normal(0, 0.02, shape).astype(np.float32) for name, shape in llama_shapes().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
