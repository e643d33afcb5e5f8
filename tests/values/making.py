"""Small real checkpoints for the tests of values, convert and converters, written by torch and safetensors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}

QUANTIZER = """
class SteTernaryQuantizer:
    def __init__(self, group_size=-1, eps=1e-5):
        self.group_size = group_size

class LinearQuantizer:
    def __init__(self):
        self.quantizer = SteTernaryQuantizer(group_size=128)
"""


def latent_llama(
    layers: int = 2, dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Random weights under Llama's names: rows of 256 and 512 channels."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * 0.02).to(dtype)

    tensors = {"model.embed_tokens.weight": random(64, 256)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors[prefix + "self_attn.q_proj.weight"] = random(256, 256)
        tensors[prefix + "mlp.up_proj.weight"] = random(512, 256)
        tensors[prefix + "mlp.down_proj.weight"] = random(256, 512)
        tensors[prefix + "input_layernorm.weight"] = torch.ones(256, dtype=dtype)
    tensors["model.norm.weight"] = torch.ones(256, dtype=dtype)
    tensors["lm_head.weight"] = random(64, 256)
    return tensors


def is_fusable(name: str) -> bool:
    return name.endswith("_proj.weight")


def torch_fuse(weight: torch.Tensor, group_size: int, eps: float = 1e-5) -> torch.Tensor:
    """The straightforward formula: everything in float32, the product rounded to the weight's dtype."""
    groups = weight.float().reshape(weight.shape[0], -1, weight.shape[1] if group_size == -1 else group_size)
    scale = groups.abs().mean(dim=-1, keepdim=True).clamp(min=eps)
    return (torch.clamp(torch.round(groups / scale), -1, 1) * scale).reshape(weight.shape).to(weight.dtype)


def fused_llama(group_size: int, **options: Any) -> dict[str, torch.Tensor]:
    tensors = latent_llama(**options)
    return {name: torch_fuse(t, group_size) if is_fusable(name) else t for name, t in tensors.items()}


def save(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None = None) -> Path:
    """A folder with model.safetensors and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    return folder


def save_bin(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None = None) -> Path:
    """A folder with pytorch_model.bin and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    return folder
