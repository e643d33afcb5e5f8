"""What vllm-ascend takes a compressed-tensors checkpoint for, by its own rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

import weightsmith
from tests.fits.checkpoints import llama, llama_config
from weightsmith.fits.compressed_groups import schemes_asked

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint.arrays import Array

_SHAPE = (2, 64, 96, 4, 2, 256)
_ROWS8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
_TOKENS8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
_GROUPS4 = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}


@pytest.mark.parametrize(
    ("weights", "inputs", "form", "asked"),
    [
        (_ROWS8, _TOKENS8, "int-quantized", "W8A8_DYNAMIC"),
        (_ROWS8, {**_TOKENS8, "strategy": "tensor", "dynamic": False}, "int-quantized", "W8A8"),
        ({**_ROWS8, "type": "float"}, {**_TOKENS8, "type": "float"}, "float-quantized", "W8A8FP8_DYNAMIC"),
        (_GROUPS4, _TOKENS8, "int-quantized", "W4A8_DYNAMIC"),
        (_GROUPS4, None, "pack-quantized", "W4A16"),
        ({**_ROWS8, "symmetric": False}, _TOKENS8, "int-quantized", "8-bit int by channel"),
        (_ROWS8, None, "pack-quantized", "8-bit int by channel"),
        ({**_GROUPS4, "type": "float"}, None, "nvfp4-pack-quantized", "4-bit float by group"),
    ],
)
def test_groups_of_compressed_tensors_are_taken_for_schemes_of_vllm_ascend(
    weights: dict[str, object], inputs: dict[str, object] | None, form: str, asked: str
) -> None:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    section = {"format": form, "config_groups": {"group_0": group}}
    assert list(schemes_asked(section, ["linear"])) == [f"{asked}.linear"]


def test_groups_that_differ_are_left_to_the_engine() -> None:
    groups = {"a": {"weights": _ROWS8, "input_activations": _TOKENS8}, "b": {"weights": _GROUPS4}}
    assert list(schemes_asked({"format": "int-quantized", "config_groups": groups}, ["linear"])) == []


@pytest.mark.parametrize(("experts", "loads"), [(True, True), (False, False)])
def test_4_bits_of_compressed_tensors_are_for_experts_alone(
    tmp_path: Path, experts: bool, loads: bool
) -> None:
    """vllm-ascend registers W4A16 for mixtures of experts, and has none for linear layers."""
    stored: dict[str, Array] = {}
    for name, shape in llama(*_SHAPE).items():
        if "mlp." in name:
            module = name.removesuffix(".weight").replace("mlp.", "mlp.experts.0." if experts else "mlp.")
            stored[f"{module}.weight_packed"] = np.zeros((shape[0], shape[1] // 8), np.int32)
            stored[f"{module}.weight_scale"] = np.ones((shape[0], shape[1] // 32), np.float16)
        else:
            stored[name] = np.zeros(shape, np.float16)
    groups = {"group_0": {"targets": ["Linear"], "weights": _GROUPS4, "input_activations": None}}
    section = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(stored, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**llama_config(*_SHAPE), "quantization_config": section}))
    answer = weightsmith.fits(folder, on="vllm-ascend==0.23.0", chip="910B", context=128)
    assert ("unknown-scheme" not in [reason.code for reason in answer.reasons]) is loads
