"""Packed ternary weights are the fused ones to the bit, for the reference library and for real loaders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from safetensors.torch import load_file

from tests.values.making import fused_llama, is_fusable, latent_llama, save
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused
from weightsmith.values.value_survey import survey_values

MODELS = Path(__file__).parent.parent / "models"
UP = "model.layers.0.mlp.up_proj.weight"


def library_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The linear weights of a packed checkpoint, by compressed-tensors' own arithmetic."""
    tensors = load_file(folder / "model.safetensors")
    stated = json.loads((folder / "config.json").read_text())["quantization_config"]
    QuantizationConfig.model_validate({k: v for k, v in stated.items() if k != "quant_method"})
    group = stated["config_groups"]["group_0"]
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**group["weights"]))
    found = {}
    for name in (n for n in tensors if n.endswith("weight_packed")):
        module = name.removesuffix("weight_packed")
        state = {n.removeprefix(module): t for n, t in tensors.items() if n.startswith(module)}
        found[f"{module}weight"] = PackedQuantizationCompressor.decompress(state, scheme)["weight"]
    return found


def assert_same_bits(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name].view(torch.int16), tensor.view(torch.int16)), name


def positive_zeros(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n: t + 0.0 if is_fusable(n) else t for n, t in tensors.items()}


@pytest.mark.parametrize("group", [32, 128, -1])
def test_the_reference_library_unpacks_the_fused_weights(tmp_path: Path, group: int) -> None:
    source = save(tmp_path / "latent", latent_llama())
    options = {"group_size": str(group)}
    convert(source, tmp_path / "fused", converter="ternary", options=options)
    result = convert(source, tmp_path / "int4", converter="ternary", options={**options, "pack": "int4"})
    assert result.options == {"group_size": group, "pack": "int4"}
    fused = load_file(tmp_path / "fused/model.safetensors")
    packed = load_file(tmp_path / "int4/model.safetensors")
    linear = {n: t for n, t in fused.items() if is_fusable(n)}
    theirs = library_weights(tmp_path / "int4")
    assert theirs.keys() == linear.keys() != set()
    assert all(torch.equal(theirs[n], linear[n]) for n in linear)
    assert {n for n in packed if n.endswith(".weight")} == fused.keys() - linear.keys()
    assert packed["model.layers.0.mlp.up_proj.weight_scale"].shape == (
        512,
        1 if group == -1 else 256 // group,
    )


@pytest.mark.parametrize("group", [64, -1])
def test_fused_weights_pack_to_the_same_bytes_as_the_latent_ones(tmp_path: Path, group: int) -> None:
    latent = save(tmp_path / "latent", latent_llama())
    options = {"group_size": str(group), "pack": "int4"}
    convert(latent, tmp_path / "a", converter="ternary", options=options)
    convert(latent, tmp_path / "fused", converter="ternary", options={"group_size": str(group)})
    result = convert(tmp_path / "fused", tmp_path / "b", converter="ternary", options={"pack": "int4"})
    assert result.options["group_size"] == group
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()


@pytest.mark.parametrize(("layout", "group"), [("int4", 128), ("int4", -1), ("w8a16", -1)])
def test_packed_and_back_is_the_fused_checkpoint(tmp_path: Path, layout: str, group: int) -> None:
    tensors = fused_llama(group)
    tensors[UP][3] = 0.0  # a dead output channel
    source = save(tmp_path / "source", tensors)
    options = {"pack": layout, "group_size": str(group)}
    convert(source, tmp_path / "packed", converter="ternary", options=options)
    result = convert(tmp_path / "packed", tmp_path / "back")
    assert result.converter == "dequant"
    assert_same_bits(load_file(tmp_path / "back/model.safetensors"), positive_zeros(tensors))
    config = json.loads((tmp_path / "back/config.json").read_text())
    assert "quantization_config" not in config
    assert not (tmp_path / "back/quant_model_description.json").exists()
    assert survey_values(open_checkpoint(tmp_path / "back")).fusion.state == "fused"


def test_w8a16_is_codes_and_one_scale_a_row_with_a_description(tmp_path: Path) -> None:
    convert(save(tmp_path / "source", fused_llama(-1)), tmp_path / "out", converter="ternary",
            options={"pack": "w8a16"})  # fmt: skip
    tensors = load_file(tmp_path / "out/model.safetensors")
    weight, scale = tensors[UP], tensors[f"{UP}_scale"]
    assert (weight.dtype, scale.dtype, scale.shape) == (torch.int8, torch.bfloat16, (512, 1))
    assert torch.equal((weight.bfloat16() + tensors[f"{UP}_offset"]) * scale, fused_llama(-1)[UP] + 0.0)
    described = json.loads((tmp_path / "out/quant_model_description.json").read_text())
    assert described.pop("model_quant_type") == "W8A16"
    assert described.keys() == tensors.keys()
    assert described[UP] == described[f"{UP}_scale"] == "W8A16"
    assert described["lm_head.weight"] == described["model.norm.weight"] == "FLOAT"


def test_w8a16_of_groups_is_refused_with_the_reason(tmp_path: Path) -> None:
    source = save(tmp_path / "source", fused_llama(128))
    with pytest.raises(ConversionRefused, match="one scale for each 128 of 512 channels"):
        convert(source, tmp_path / "out", converter="ternary", options={"pack": "w8a16"})
    assert not (tmp_path / "out").exists()


def test_a_group_size_that_the_fused_weights_do_not_have_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "source", fused_llama(64))
    with pytest.raises(ConversionRefused, match=r"is not fused in groups of 128: row 0 holds several"):
        convert(source, tmp_path / "out", converter="ternary", options={"pack": "int4", "group_size": "128"})


def test_scales_that_bf16_does_not_hold_are_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "source", fused_llama(128, dtype=torch.float32))
    with pytest.raises(ConversionRefused, match="BF16 does not hold exactly"):
        convert(source, tmp_path / "out", converter="ternary", options={"pack": "int4"})


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match="choose int4 or w8a16"):
        convert(save(tmp_path / "s", fused_llama(128)), tmp_path / "o", converter="ternary",
                options={"pack": "int2"})  # fmt: skip


def test_damaged_fused_weights_are_named(tmp_path: Path) -> None:
    tensors = fused_llama(128)
    tensors[UP][300, 7] = float("inf")
    with pytest.raises(ConversionRefused, match=f"is mixed already.*{UP} row 300"):
        convert(save(tmp_path / "s", tensors), tmp_path / "o", converter="ternary",
                options={"pack": "int4", "group_size": "128"})  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(fused, packed) of the trained ternary Llama."""
    folder = tmp_path_factory.mktemp("trained")
    convert(MODELS / "ternary-llama", folder / "fused")
    convert(MODELS / "ternary-llama", folder / "int4", options={"pack": "int4"})
    return folder / "fused", folder / "int4"


def test_the_config_beside_packed_weights_is_the_true_one(trained: tuple[Path, Path]) -> None:
    fused, packed = (json.loads((folder / "config.json").read_text()) for folder in trained)
    assert packed.pop("quantization_config")["format"] == "pack-quantized"
    assert packed == fused


def test_transformers_computes_the_same_logits(trained: tuple[Path, Path]) -> None:
    from transformers import AutoModelForCausalLM

    ids = torch.arange(40, 72).reshape(1, 32)
    logits = []
    for folder in trained:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        with torch.no_grad():
            logits.append(model(ids).logits)
    assert torch.equal(*logits)
