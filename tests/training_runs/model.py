"""A small Llama: its released weights and config, and the same as a module that training code can wrap and cut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A vocabulary that no number of processes divides: the last shard of it is smaller than the others.
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "vocab_size": 203,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}


def weights(seed: int = 7, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Normal numbers under the released names, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    hidden, inner, words = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["vocab_size"]
    keys = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
    shapes = {"model.embed_tokens.weight": (words, hidden)}
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {
            f"{at}self_attn.q_proj.weight": (hidden, hidden),
            f"{at}self_attn.k_proj.weight": (keys, hidden),
            f"{at}self_attn.v_proj.weight": (keys, hidden),
            f"{at}self_attn.o_proj.weight": (hidden, hidden),
            f"{at}mlp.gate_proj.weight": (inner, hidden),
            f"{at}mlp.up_proj.weight": (inner, hidden),
            f"{at}mlp.down_proj.weight": (hidden, inner),
            f"{at}input_layernorm.weight": (hidden,),
            f"{at}post_attention_layernorm.weight": (hidden,),
        }
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (words, hidden)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def release(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None = None) -> Path:
    """A released checkpoint of these tensors: what a conversion must come to."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config or CONFIG, indent=2))
    return folder


class Norm(nn.Module):
    """A weight that is one vector; only its name and shape matter here."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))


def place_of(root: nn.Module, path: Iterable[str]) -> nn.Module:
    """The module at a path below the root; what is not there yet is made."""
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    return root


def module(tensors: dict[str, torch.Tensor]) -> nn.Module:
    """A tree of Linear, Embedding and Norm with exactly these parameters."""
    root = nn.Module()
    for name, value in tensors.items():
        *path, last, _ = name.split(".")
        place = place_of(root, path)
        leaf: nn.Module
        if value.ndim == 1:
            leaf = Norm(len(value))
        elif "embed" in last:
            leaf = nn.Embedding(*value.shape)
        else:
            leaf = nn.Linear(value.shape[1], value.shape[0], bias=False)
        leaf.weight = nn.Parameter(value.clone())
        place.add_module(last, leaf)
    return root
