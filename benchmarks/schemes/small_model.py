"""The small Llama that libraries pack, and how a packed one is written."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Linear, Module

Truth = dict[str, "Tensor"]
SHAPES = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 320, "max_position_embeddings": 128, "head_dim": 64,
}  # fmt: skip
# What is kept for tests, where --record asks for it.
SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 32, "max_position_embeddings": 128, "head_dim": 32,
}  # fmt: skip


def shapes_asked() -> dict[str, int]:
    """The small ones where the environment says so."""
    return SMALL if os.environ.get("SMALL") else SHAPES


def small_llama() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**shapes_asked(), architectures=["LlamaForCausalLM"])
    return LlamaForCausalLM(config).to(torch.bfloat16)


def linears(model: Module) -> dict[str, Linear]:
    """The linear layers inside the layers, by name."""
    from torch.nn import Linear

    return {
        name: one for name, one in model.named_modules() if isinstance(one, Linear) and ".layers." in name
    }


def save(
    folder: Path, model: Any, packed: Mapping[str, Mapping[str, Tensor]], section: Mapping[str, object]
) -> None:
    """The model's other weights as they are, the linear ones in their parts, and a config with this section."""
    from safetensors.torch import save_file

    state = {f"{name}.{part}": tensor for name, parts in packed.items() for part, tensor in parts.items()}
    rest = {name: t for name, t in model.state_dict().items() if name.removesuffix(".weight") not in packed}
    save_file(
        {n: t.contiguous() for n, t in (rest | state).items()}, folder / "model.safetensors", {"format": "pt"}
    )
    (folder / "config.json").write_text(json.dumps({**model.config.to_dict(), **section}))


def each_linear(
    folder: Path, section: Mapping[str, object], pack: Callable[[Tensor], tuple[dict[str, Tensor], Tensor]]
) -> Truth:
    """The model with each linear layer packed: from its weight to what is stored, and to what that stands for."""
    model = small_llama()
    made = {name: pack(one.weight.data) for name, one in linears(model).items()}
    save(folder, model, {name: parts for name, (parts, _) in made.items()}, section)
    return {name: exact for name, (_, exact) in made.items()}
