"""What lies in the folder that the docs speak of: small real checkpoints, called as in the text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import torch

import weightsmith
from tests.checkpoint.headers import write_headers_only
from tests.machine.machines import ATLAS, with_packages
from tests.shapes.predicted import predicted
from weightsmith.checkpoint import open_checkpoint
from weightsmith.machine import dump

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MODELS = Path(__file__).resolve().parents[1] / "models"
KEPT = Path(__file__).resolve().parents[1] / "report" / "kept"
Maker = Callable[[Path], object]

_LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 96,
    "max_position_embeddings": 32768, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
_QWEN3 = {
    **_LLAMA, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": True,
    "rope_theta": 1000000.0, "layer_types": ["full_attention"] * 2,
}  # fmt: skip
# The sizes of BitCPM4-CANN-1B, and what its config.json said of them.
_BITCPM = {
    **_LLAMA, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 73448,
}  # fmt: skip
_LIES = {"hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 10240}


def _write(path: Path, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    """safetensors, as the reference writes it: a padded header, then the numbers."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, array in tensors.items():
        kind = "BF16" if array.dtype == ml_dtypes.bfloat16 else "F32"
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [end, end := end + array.nbytes]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in tensors.values()))


def _random(config: Mapping[str, object]) -> dict[str, NDArray[np.generic]]:
    """Random bf16 weights of a model of this config; norms are one."""
    draw = np.random.default_rng(0)
    return {
        name: (np.ones(shape) if name.endswith("norm.weight") else draw.standard_normal(shape) * 0.02).astype(
            ml_dtypes.bfloat16
        )
        for name, shape in predicted(config).items()
    }


def _model(config: Mapping[str, object]) -> Maker:
    def make(folder: Path) -> None:
        folder.mkdir()
        _write(folder / "model.safetensors", _random(config))
        (folder / "config.json").write_text(json.dumps(config))

    return make


def _copy(name: str) -> Maker:
    def make(folder: Path) -> None:
        shutil.copytree(MODELS / name, folder)

    return make


def _first_layer(folder: Path) -> None:
    """The ternary Llama with its first layer alone: what is computed of each weight takes a quarter of the time."""
    _copy("ternary-llama")(folder)
    weights = folder / "pytorch_model.bin"
    tensors = torch.load(weights, weights_only=True)
    kept = {name: t for name, t in tensors.items() if ".layers." not in name or ".layers.0." in name}
    torch.save(kept, weights)


def _by_row(folder: Path) -> None:
    """Ternary weights with one scale for each row."""
    folder.mkdir()
    tensors = _random(_LLAMA)
    for name, values in tensors.items():
        if name.endswith("_proj.weight"):
            signs = np.random.default_rng(1).integers(-1, 2, values.shape)
            tensors[name] = (signs * np.float32(0.0625)).astype(ml_dtypes.bfloat16)
    _write(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(_LLAMA))


def _adapter(folder: Path) -> None:
    """A LoRA of rank 4 on one projection of each layer."""
    folder.mkdir()
    draw = np.random.default_rng(2)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight": (
            draw.standard_normal(shape).astype(np.float32) * 0.03
        )
        for layer in range(2)
        for side, shape in (("A", (4, 64)), ("B", (64, 4)))
    }
    _write(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "bf16"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _run(folder: Path) -> None:
    """A step of a training run, as FSDP saves it: weights, moving averages and the optimizer's state."""
    import torch.distributed.checkpoint as dcp

    weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in _random(_LLAMA).items()}
    optimizer = {f"state.{name}.exp_avg": torch.zeros_like(tensor) for name, tensor in weights.items()}
    averages = {name: tensor / 2 for name, tensor in weights.items()}
    dcp.save({"model": weights, "ema": averages, "optimizer": optimizer}, checkpoint_id=folder, no_dist=True)
    (folder / "config.json").write_text(json.dumps(_LLAMA))


def _packed(folder: Path) -> None:
    """Ternary weights as int4 codes and their scales."""
    weightsmith.convert(MODELS / "ternary-llama", folder, options={"pack": "int4"})


def _bitcpm_shape(folder: Path) -> None:
    """BitCPM4-CANN-1B at full size with its published config; the numbers are a hole in the file."""
    write_headers_only(folder, predicted(_BITCPM), format="bin")
    head = open_checkpoint(folder).tensors["lm_head.weight"]
    with (folder / head.storage.file).open("r+b") as file:  # it is not the embedding, as in a trained model
        file.seek(head.start)
        file.write(b"\x3f")
    (folder / "config.json").write_text(json.dumps({**_BITCPM, **_LIES}))


def _machine(**packages: str) -> Maker:
    """What `doctor --dump` wrote on a machine with these packages."""
    return lambda path: path.write_bytes(dump.text(with_packages(ATLAS, **packages)))


GIVEN: Mapping[str, Maker] = {
    "model": _copy("ternary-llama"),
    "MODEL": _copy("ternary-llama"),
    "BitCPM4-CANN-1B-unquantized": _first_layer,
    "HRM-Text-1B": _copy("hrm-text"),
    "mem-agent": _model(_QWEN3),
    "bf16": _model(_LLAMA),
    "by-row": _by_row,
    "adapter": _adapter,
    "packed": _packed,
    "run": _run,
    "works.json": _machine(),
    "broken.json": _machine(torch="2.9.0"),
    "result.json": lambda path: shutil.copy(KEPT / "hrm-text.json", path),
    "pytorch_model.bin": lambda path: shutil.copy(MODELS / "ternary-llama" / "pytorch_model.bin", path),
}
# Where a page shows the figures of the real one.
OF_PAGE: Mapping[tuple[str, str], Maker] = {("README.md", "BitCPM4-CANN-1B-unquantized"): _bitcpm_shape}
