"""What transformers itself says the tensors on disk are: the models are built without data, on the meta device."""

from __future__ import annotations

from typing import Any

from weightsmith.checkpoint import Storage, Tensor
from weightsmith.shapes.given.roles import NameTable


def reference_shapes(model_type: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that `save_pretrained` would write, tied duplicates left out."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.core_model_loading import revert_weight_conversion

    # An end-of-text id below every vocabulary drawn here keeps config validation quiet.
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    built = AutoConfig.for_model(model_type, **special, **config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(built)
    stored = revert_weight_conversion(model, dict(model.state_dict()))
    tied = getattr(model, "all_tied_weights_keys", {})
    return {name: tuple(tensor.shape) for name, tensor in stored.items() if name not in tied}


def table_of(shapes: dict[str, tuple[int, ...]]) -> NameTable:
    return NameTable.of(tensor(name, shape) for name, shape in shapes.items())


def tensor(name: str, shape: tuple[int, ...], dtype: str = "BF16") -> Tensor:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return Tensor(name, dtype, shape, Storage("model.safetensors", 0, 2 * step), 0, tuple(reversed(strides)))
