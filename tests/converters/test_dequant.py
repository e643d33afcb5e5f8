"""Dequantizing computes what the reference libraries compute, to the bit, and refuses what lacks its scales."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import load_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from tests.values.making import CONFIG, save
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused

if TYPE_CHECKING:
    from pathlib import Path

LAYER = "model.layers.0.mlp.up_proj."
OTHERS = {
    "model.norm.weight": torch.ones(96, dtype=torch.bfloat16),
    "lm_head.weight": torch.ones(8, 96).bfloat16(),
}


def quantized(folder: Path, tensors: dict[str, torch.Tensor], stated: dict[str, Any]) -> Path:
    state = {name: tensor.contiguous() for name, tensor in {**OTHERS, **tensors}.items()}
    return save(folder, state, {**CONFIG, "quantization_config": stated})


def compressed(
    folder: Path, arguments: dict[str, Any], form: str, dtype: torch.dtype, shape: tuple[int, int] = (64, 96)
) -> tuple[Path, torch.Tensor]:
    """A checkpoint whose one weight compressed-tensors has quantized, and what that library makes of it again.

    With scales in float32 it multiplies in float32: its numbers are then not yet rounded to the dtype of the scales.
    """
    generator = torch.Generator().manual_seed(1)
    rows, cols = shape
    weight = torch.randn(rows, cols, generator=generator).to(dtype)
    strategy = arguments["strategy"]
    grid = {
        "tensor": (1,),
        "channel": (rows, 1),
        "group": (rows, cols // arguments.get("group_size", 1)),
        "block": tuple(
            -(-n // b) for n, b in zip(shape, arguments.get("block_structure", (1, 1)), strict=True)
        ),
    }[strategy]
    scale = (torch.rand(grid, generator=generator) * 0.01 + 0.02).to(dtype)
    state: dict[str, Any] = {"weight": weight, "weight_scale": scale}
    if not arguments.get("symmetric", True):
        state["weight_zero_point"] = torch.randint(-7, 7, grid, generator=generator, dtype=torch.int8)
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**arguments))
    compressor = PackedQuantizationCompressor if form == "pack-quantized" else NaiveQuantizationCompressor
    small = compressor.compress(state, scheme)
    expected = compressor.decompress({**small, "weight_scale": small["weight_scale"].float()}, scheme)[
        "weight"
    ]
    stated = {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": arguments}},
    }
    return quantized(folder, {LAYER + name: tensor for name, tensor in small.items()}, stated), expected


INT4, INT8, FP8 = ({"num_bits": n, "type": t} for n, t in ((4, "int"), (8, "int"), (8, "float")))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("form", "arguments"),
    [
        ("pack-quantized", {**INT4, "strategy": "group", "group_size": 32}),
        ("pack-quantized", {**INT4, "strategy": "channel"}),
        ("pack-quantized", {**INT4, "strategy": "group", "group_size": 32, "symmetric": False}),
        ("pack-quantized", {**INT4, "strategy": "channel", "symmetric": False}),
        ("pack-quantized", {**INT8, "strategy": "group", "group_size": 32}),
        ("pack-quantized", {**INT8, "strategy": "channel", "symmetric": False}),
        ("pack-quantized", {"num_bits": 3, "type": "int", "strategy": "channel"}),
        ("int-quantized", {**INT8, "strategy": "channel"}),
        ("int-quantized", {**INT8, "strategy": "tensor"}),
        ("int-quantized", {**INT8, "strategy": "channel", "symmetric": False}),
        ("float-quantized", {**FP8, "strategy": "tensor"}),
        ("float-quantized", {**FP8, "strategy": "channel"}),
        ("float-quantized", {**FP8, "strategy": "group", "group_size": 32}),
        ("float-quantized", {**FP8, "strategy": "block", "block_structure": [32, 32]}),
    ],
    ids=str,
)
def test_compressed_tensors_own_arithmetic(
    tmp_path: Path, form: str, arguments: dict[str, Any], dtype: torch.dtype
) -> None:
    source, expected = compressed(tmp_path / "source", arguments, form, dtype)
    result = convert(source, tmp_path / "out")
    assert result.converter == "dequant"
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert tensors.keys() == {*OTHERS, f"{LAYER}weight"}
    assert torch.equal(tensors[f"{LAYER}weight"], expected.bfloat16())
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert "quantization_config" not in config


def test_rows_that_do_not_fill_their_last_word(tmp_path: Path) -> None:
    arguments = {**INT4, "strategy": "channel"}
    source, expected = compressed(tmp_path / "source", arguments, "pack-quantized", torch.bfloat16, (13, 45))
    convert(source, tmp_path / "out")
    assert torch.equal(load_file(tmp_path / "out/model.safetensors")[f"{LAYER}weight"], expected.bfloat16())


def without(source: Path, name: str) -> Path:
    tensors = load_file(source / "model.safetensors")
    del tensors[name]
    return save(source, tensors, json.loads((source / "config.json").read_text()))


@pytest.mark.parametrize("lost", ["weight_scale", "weight_shape"])
def test_what_lacks_a_part_is_refused_by_name(tmp_path: Path, lost: str) -> None:
    arguments = {**INT4, "strategy": "channel"}
    source, _ = compressed(tmp_path / "source", arguments, "pack-quantized", torch.bfloat16)
    with pytest.raises(ConversionRefused, match=f"{LAYER}weight_packed.*{lost} is missing"):
        convert(without(source, LAYER + lost), tmp_path / "out", converter="compressed-tensors-dequant")
    assert not (tmp_path / "out").exists()


def test_bits_that_the_config_contradicts_are_refused(tmp_path: Path) -> None:
    source, _ = compressed(
        tmp_path / "source", {**INT4, "strategy": "channel"}, "pack-quantized", torch.bfloat16
    )
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 8
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConversionRefused, match=r"holds 4 bits, and the config says 8; correct num_bits"):
        convert(source, tmp_path / "out")


def fp8(rows: int, cols: int, block: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    weight = (torch.randn(rows, cols, generator=generator) * 100).clamp(-448, 448).to(torch.float8_e4m3fn)
    grid = (-(-rows // block), -(-cols // block))
    return weight, torch.rand(grid, generator=generator) * 1e-4 + 1e-5


BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e4m3"}


def test_deepseek_blocks_come_out_as_in_transformers(tmp_path: Path) -> None:
    weight, scale = fp8(384, 256)
    source = quantized(tmp_path / "s", {f"{LAYER}weight": weight, f"{LAYER}weight_scale_inv": scale}, BLOCKS)
    result = convert(source, tmp_path / "out")
    assert (result.converter, result.tensors.dropped) == ("dequant", 1)
    tensors = load_file(tmp_path / "out/model.safetensors")
    theirs = Fp8Dequantize(None)._dequantize_one(weight, scale).bfloat16()
    assert torch.equal(tensors[f"{LAYER}weight"], theirs)
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("shape", [(576, 320), (100, 130), (129, 128)])
def test_blocks_at_the_edge_are_cut_off_not_stretched(
    tmp_path: Path, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    """DeepSeek-V3's kv_a_proj has 576 rows: four and a half blocks."""
    weight, scale = fp8(*shape)
    weight = weight.float().to(dtype)
    source = quantized(tmp_path / "s", {f"{LAYER}weight": weight, f"{LAYER}weight_scale_inv": scale}, BLOCKS)
    convert(source, tmp_path / "out", workers=3)
    spread = scale.repeat_interleave(128, 0)[: shape[0]].repeat_interleave(128, 1)[:, : shape[1]]
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(tensors[f"{LAYER}weight"], (weight.float() * spread).bfloat16())


def test_one_scale_for_the_whole_weight(tmp_path: Path) -> None:
    weight, _ = fp8(64, 96)
    scale = torch.tensor(0.00321)
    state = {
        f"{LAYER}weight": weight,
        f"{LAYER}weight_scale": scale,
        f"{LAYER}input_scale": torch.tensor(1.0),
    }
    convert(quantized(tmp_path / "s", state, {"quant_method": "fp8"}), tmp_path / "out")
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert tensors.keys() == {*OTHERS, f"{LAYER}weight"}
    assert torch.equal(tensors[f"{LAYER}weight"], (weight.float() * scale).bfloat16())


def test_an_8_bit_float_without_its_scale_is_refused_by_name(tmp_path: Path) -> None:
    weight, _ = fp8(128, 128)
    source = quantized(tmp_path / "s", {f"{LAYER}weight": weight}, BLOCKS)
    with pytest.raises(ConversionRefused, match=f"{LAYER}weight: has no scale .*weight_scale_inv"):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number_is_refused_by_name(tmp_path: Path, bad: float) -> None:
    weight, scale = fp8(256, 256)
    scale[1, 1] = bad
    source = quantized(tmp_path / "s", {f"{LAYER}weight": weight, f"{LAYER}weight_scale_inv": scale}, BLOCKS)
    with pytest.raises(ConversionRefused, match=r"weight_scale_inv: the scale of row 128 .* NaN or infinite"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_scales_of_another_shape_are_refused(tmp_path: Path) -> None:
    weight, _ = fp8(256, 256)
    state = {f"{LAYER}weight": weight, f"{LAYER}weight_scale_inv": torch.ones(3, 2)}
    with pytest.raises(ConversionRefused, match="does not divide"):
        convert(quantized(tmp_path / "s", state, BLOCKS), tmp_path / "out")


def test_a_damaged_code_is_refused(tmp_path: Path) -> None:
    weight, scale = fp8(128, 128)
    weight.view(torch.uint8)[5, 5] = 0x7F  # NaN
    source = quantized(tmp_path / "s", {f"{LAYER}weight": weight, f"{LAYER}weight_scale_inv": scale}, BLOCKS)
    with pytest.raises(ConversionRefused, match=f"{LAYER}weight: .*NaN"):
        convert(source, tmp_path / "out")


EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"


def mxfp4(experts: int = 3, rows: int = 320, groups: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    blocks = torch.randint(0, 256, (experts, rows, groups, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(0, 253, (experts, rows, groups), generator=generator, dtype=torch.uint8)
    return {f"{EXPERTS}_blocks": blocks, f"{EXPERTS}_scales": scales}


def test_gpt_oss_experts_come_out_as_in_transformers(tmp_path: Path) -> None:
    state = mxfp4()
    state[f"{EXPERTS}_bias"] = torch.zeros(3, 320, dtype=torch.bfloat16)
    result = convert(quantized(tmp_path / "s", state, {"quant_method": "mxfp4"}), tmp_path / "out", workers=3)
    assert result.converter == "dequant"
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert tensors.keys() == {*OTHERS, EXPERTS, f"{EXPERTS}_bias"}
    theirs = convert_moe_packed_tensors(state[f"{EXPERTS}_blocks"], state[f"{EXPERTS}_scales"])
    assert tensors[EXPERTS].shape == (3, 96, 320)
    assert torch.equal(tensors[EXPERTS], theirs)


def test_blocks_without_scales_are_refused_by_name(tmp_path: Path) -> None:
    state = mxfp4()
    del state[f"{EXPERTS}_scales"]
    with pytest.raises(ConversionRefused, match=f"{EXPERTS}_blocks: .*{EXPERTS}_scales is missing"):
        convert(quantized(tmp_path / "s", state, {"quant_method": "mxfp4"}), tmp_path / "out")


def test_the_scale_that_means_nan_is_refused(tmp_path: Path) -> None:
    state = mxfp4()
    state[f"{EXPERTS}_scales"][1, 2, 0] = 255
    with pytest.raises(ConversionRefused, match=f"{EXPERTS}_scales: the scale of row .* is NaN"):
        convert(quantized(tmp_path / "s", state, {"quant_method": "mxfp4"}), tmp_path / "out")


def test_all_256_patterns_of_an_exponent_scale() -> None:
    from weightsmith.schemes.numbers import values_of

    found = values_of(np.arange(256, dtype=np.uint8), "F8_E8M0").tolist()
    assert found[:255] == [2.0 ** (e - 127) for e in range(255)]
    assert math.isnan(found[255])


def _zeroed(notes: tuple[str, ...]) -> list[str]:
    return [note.split(" nonzero")[0] for note in notes if "became zero" in note]


def test_products_too_small_for_the_dtype_are_counted(tmp_path: Path) -> None:
    codes = torch.zeros(256, 128)
    codes[0, :9], codes[1, :5], codes[200, :7] = 2.0, -4.0, 2.0
    scales = torch.tensor([[2.0**-26], [2.0**-60]])
    weight = {f"{LAYER}weight": codes.to(torch.float8_e4m3fn), f"{LAYER}weight_scale_inv": scales}
    stated = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    source = quantized(tmp_path / "source", weight, stated)
    small = convert(source, tmp_path / "small", dtype="float16")
    assert _zeroed(small.notes) == ["16"]  # 2 * 2**-26 is half of the least float16; 4 * 2**-26 is the least
    assert int(torch.count_nonzero(load_file(tmp_path / "small/model.safetensors")[f"{LAYER}weight"])) == 5
    assert not _zeroed(convert(source, tmp_path / "wide", dtype="float32").notes)


def test_zero_points_and_zero_scales_are_no_small_numbers(tmp_path: Path) -> None:
    codes = torch.full((4, 64), 3, dtype=torch.int8)
    codes[1, 0], codes[3, 0] = 4, 5
    weight = {
        f"{LAYER}weight": codes,
        f"{LAYER}weight_scale": torch.tensor([[1.0], [2.0**-40], [0.0], [0.0]]),
        f"{LAYER}weight_zero_point": torch.full((4, 1), 3, dtype=torch.int8),
    }
    group = {
        "targets": ["Linear"],
        "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": False},
    }
    stated = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "config_groups": {"group_0": group},
    }
    done = convert(quantized(tmp_path / "source", weight, stated), tmp_path / "out", dtype="float16")
    assert _zeroed(done.notes) == ["1"]


def test_small_microscaled_numbers_are_counted(tmp_path: Path) -> None:
    tensors = mxfp4()
    codes, scales = (
        next(t for name, t in tensors.items() if name.endswith(end)) for end in ("_blocks", "_scales")
    )
    scales.fill_(127)
    scales[0, 0, 0] = 127 - 60
    lost = sum(int(torch.count_nonzero(codes[0, 0, 0] & mask)) for mask in (0x07, 0x70))
    source = quantized(tmp_path / "source", tensors, {"quant_method": "mxfp4"})
    assert lost > 20
    assert _zeroed(convert(source, tmp_path / "small", dtype="float16").notes) == [str(lost)]
    assert not _zeroed(convert(source, tmp_path / "wide", dtype="bfloat16").notes)
