"""The sound models that the faults are put into, each made once per run in a scratch folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.faults import tied_model
from benchmarks.faults.command_line import weightsmith
from benchmarks.faults.folder import WEIGHTS, config, save

if TYPE_CHECKING:
    from benchmarks.faults.case import Model

TRAINED = Path(__file__).resolve().parents[2] / "tests" / "models"
# Says what the model was trained on: the bare question.
TEMPLATE = "{{ messages[0]['content'] }}"
PROMPTS = Path(__file__).with_name("prompts.jsonl")


def make(model: Model, models: Path) -> Path:
    """The folder of a sound model under `models`; made when it is not there yet, never changed afterwards."""
    folder = models / model
    if folder.exists():
        return folder
    match model:
        case "handed":
            shutil.copytree(TRAINED / "ternary-llama", folder)
        case "latent":
            shutil.copytree(TRAINED / "ternary-llama", folder)
            shutil.copy(TRAINED / "ternary-llama.true-config.json", folder / "config.json")
        case "fused":
            done = weightsmith(["convert", str(make("latent", models)), str(folder)], models)
            if done.code:
                raise RuntimeError(f"the sound model cannot be converted: {done.errors}")
        case "hrm":
            shutil.copytree(TRAINED / "hrm-text", folder)
        case "packed":
            _pack(make("fused", models), folder)
        case "chat":
            shutil.copytree(make("fused", models), folder)
            (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
        case "tied":
            tied_model.train(make("latent", models), PROMPTS, folder)
    return folder


def _pack(source: Path, folder: Path) -> None:
    """Linear layers as int8 with a scale for each channel, activations rounded token by token (compressed-tensors)."""
    import torch
    from safetensors.torch import load_file

    shutil.copytree(source, folder)
    packed = {}
    for name, tensor in load_file(folder / WEIGHTS).items():
        if name.endswith("_proj.weight"):
            scale = tensor.float().abs().amax(1, keepdim=True) / 127
            packed[name] = (tensor.float() / scale).round().to(torch.int8)
            packed[f"{name}_scale"] = scale.to(tensor.dtype)
        else:
            packed[name] = tensor
    save(packed, folder / WEIGHTS)
    ints = {"num_bits": 8, "type": "int", "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**ints, "strategy": "channel"},
        "input_activations": {**ints, "strategy": "token", "dynamic": True},
    }
    section = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }
    config(quantization_config=section)(folder)
