"""ModelSlim as a language that is written: the nearest codes under msmodelslim's scales, and the loss in numbers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from converters.modelslim import MODES
from tests.values.making import CONFIG, latent_llama, save
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused
from weightsmith.shapes import infer

if TYPE_CHECKING:
    from pathlib import Path

DOWN = "model.layers.1.mlp.down_proj.weight"


def expected(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """msmodelslim's formula: the scale in the weight's own dtype, then codes and scale in float32."""
    scale = (weight.abs().amax(1, keepdim=True) / 127.0).clamp(min=torch.finfo(torch.float32).eps).float()
    return (weight.float() / scale).round().clamp(-128, 127).to(torch.int8), scale


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("mode", MODES)
def test_codes_scales_and_the_description(tmp_path: Path, mode: str, dtype: torch.dtype) -> None:
    tensors = latent_llama(dtype=dtype)
    tensors[DOWN][7] = 0
    tensors["model.layers.0.mlp.up_proj.bias"] = torch.ones(512, dtype=dtype)
    result = convert(
        save(tmp_path / "source", tensors), tmp_path / "out", converter="modelslim", options={"mode": mode}
    )
    found = load_file(tmp_path / "out/model.safetensors")
    described = json.loads((tmp_path / "out/quant_model_description.json").read_text())
    assert described.pop("model_quant_type") == mode
    assert described.keys() == found.keys()
    for name, weight in tensors.items():
        if not name.endswith("_proj.weight"):
            assert torch.equal(found[name], weight)
            assert described[name] == "FLOAT"
            continue
        codes, scale = expected(weight)
        assert torch.equal(found[name], codes) and torch.equal(found[f"{name}_scale"], scale)
        assert not found[f"{name}_offset"].any() and found[f"{name}_offset"].dtype == torch.float32
        assert {described[name + end] for end in ("", "_scale", "_offset")} == {mode}
    assert re.match(r"relative error of 6 weights: 0\.[5-9]\d\d% in all, at most", result.notes[-1])


@pytest.mark.parametrize("mode", MODES)
def test_what_is_written_comes_back_as_codes_times_scales(tmp_path: Path, mode: str) -> None:
    tensors = latent_llama()
    source = save(tmp_path / "source", tensors)
    convert(source, tmp_path / "packed", converter="modelslim", options={"mode": mode})
    back = convert(tmp_path / "packed", tmp_path / "back")
    assert back.converter == "dequant" and "quant_model_description.json" in back.left_out
    found, stored = (
        load_file(tmp_path / "back/model.safetensors"),
        load_file(tmp_path / "packed/model.safetensors"),
    )
    assert found.keys() == tensors.keys()
    for name, weight in tensors.items():
        packed = f"{name}_scale" in stored
        product = stored[name].float() * stored[f"{name}_scale"] if packed else weight
        assert torch.equal(found[name], product.to(torch.bfloat16))


def test_what_is_packed_in_part_is_not_packed_once_more(tmp_path: Path) -> None:
    """The description would call the codes that are there FLOAT."""
    source = save(tmp_path / "source", latent_llama())
    convert(source, tmp_path / "part", converter="modelslim", options={"float": "down_proj"})
    with pytest.raises(ConversionRefused, match="is packed already: 4 weights are packed as modelslim"):
        convert(tmp_path / "part", tmp_path / "again", converter="modelslim")
    assert not (tmp_path / "again").exists()


def test_the_loss_is_that_of_the_numbers(tmp_path: Path) -> None:
    tensors = latent_llama()
    result = convert(save(tmp_path / "source", tensors), tmp_path / "out", converter="modelslim")
    found = load_file(tmp_path / "out/model.safetensors")
    errors = {}
    for name, weight in tensors.items():
        if name.endswith("_proj.weight"):
            back = found[name].numpy().astype(np.float32) * found[f"{name}_scale"].numpy()
            exact = weight.float().numpy()
            errors[name] = float(np.abs(exact - back).mean(dtype=float) / np.abs(exact).mean(dtype=float))
    worst = max(errors, key=lambda name: errors[name])
    assert f"at most {errors[worst]:.3%} ({worst})" in result.notes[-1]


def test_beyond_the_limit_nothing_is_written(tmp_path: Path) -> None:
    tensors = latent_llama()
    tensors[DOWN][:, 3] = 40.0  # an outlier in each row
    source = save(tmp_path / "source", tensors)
    with pytest.raises(
        ConversionRefused, match=rf"{DOWN}: would lose .* in 8 bits, and the limit is 5\.0%"
    ) as refused:
        convert(source, tmp_path / "out", converter="modelslim")
    assert "--set float=NAME" in refused.value.way_out
    assert not (tmp_path / "out").exists()
    convert(source, tmp_path / "out", converter="modelslim", options={"float": "mlp.down_proj"})
    assert torch.equal(load_file(tmp_path / "out/model.safetensors")[DOWN], tensors[DOWN])
    convert(source, tmp_path / "wide", converter="modelslim", options={"limit": "0.9"})


def test_routers_stay_floats_and_experts_are_rounded(tmp_path: Path) -> None:
    tensors = latent_llama()
    block = "model.layers.1.mlp."
    tensors |= {
        f"{block}gate.weight": torch.randn(4, 256).bfloat16(),
        f"{block}shared_expert_gate.weight": torch.randn(1, 256).bfloat16(),
        f"{block}experts.0.up_proj.weight": torch.randn(64, 256).bfloat16(),
        "model.layers.1.self_attn.kv_b_proj.weight": torch.randn(64, 256).bfloat16(),
        "visual.blocks.0.attn.qkv.weight": torch.randn(64, 256).bfloat16(),
    }
    source = save(tmp_path / "source", tensors)
    convert(source, tmp_path / "out", converter="modelslim")
    described = json.loads((tmp_path / "out/quant_model_description.json").read_text())
    left = {name for name in tensors if name.endswith("weight") and described[name] == "FLOAT"}
    assert {f"{block}gate.weight", f"{block}shared_expert_gate.weight"} < left
    assert {"model.layers.1.self_attn.kv_b_proj.weight", "visual.blocks.0.attn.qkv.weight"} < left
    assert described[f"{block}experts.0.up_proj.weight"] == "W8A8_DYNAMIC"
    with pytest.raises(ConversionRefused, match="no W8A16 for these"):
        convert(source, tmp_path / "other", converter="modelslim", options={"mode": "W8A16"})


def test_experts_in_one_tensor_are_refused(tmp_path: Path) -> None:
    tensors = {**latent_llama(), "model.layers.1.mlp.experts.down_proj": torch.randn(4, 16, 16).bfloat16()}
    with pytest.raises(ConversionRefused, match="one tensor"):
        convert(save(tmp_path / "source", tensors), tmp_path / "out", converter="modelslim")


@pytest.mark.parametrize("options", [{"limit": "0"}, {"limit": "much"}, {"mode": "W4A4"}])
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(ConversionRefused, match="--set"):
        convert(
            save(tmp_path / "source", latent_llama()),
            tmp_path / "out",
            converter="modelslim",
            options=options,
        )


def test_what_is_written_has_no_fault_that_infer_finds(tmp_path: Path) -> None:
    convert(save(tmp_path / "source", latent_llama(), CONFIG), tmp_path / "out", converter="modelslim")
    found = infer(open_checkpoint(tmp_path / "out"), json.loads((tmp_path / "out/config.json").read_text()))
    assert not [problem for problem in found.problems if problem.code.startswith("quantization")]
