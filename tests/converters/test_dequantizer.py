"""dequant accounts for each stored tensor once: none of a weight's parts can be left behind, nor anything packed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from weightsmith.converters.dequant import DEQUANT

from tests.converters.test_dequant import BLOCKS, INT4, LAYER, OTHERS, compressed, fp8, mxfp4, quantized
from tests.values.making import fused_llama, save
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.convert.plan.choose import choose, gather, old_names
from weightsmith.errors import ConversionRefused
from weightsmith.schemes import plain_view
from weightsmith.schemes.formula import Formula

if TYPE_CHECKING:
    from pathlib import Path

ASYMMETRIC = {**INT4, "strategy": "group", "group_size": 32, "symmetric": False}


def packed_words(folder: Path) -> Path:
    return compressed(folder, ASYMMETRIC, "pack-quantized", torch.bfloat16)[0]


def deepseek(folder: Path) -> Path:
    weight, scale = fp8(256, 256)
    return quantized(folder, {f"{LAYER}weight": weight, f"{LAYER}weight_scale_inv": scale}, BLOCKS)


def gpt_oss(folder: Path) -> Path:
    return quantized(folder, mxfp4(), {"quant_method": "mxfp4"})


def ternary(folder: Path, layout: str) -> Path:
    source = save(folder / "fused", fused_llama(-1))
    convert(source, folder / layout, converter="ternary", options={"pack": layout})
    return folder / layout


SOURCES = {
    "compressed-tensors": packed_words,
    "fp8": deepseek,
    "mxfp4": gpt_oss,
    "our own int4": lambda folder: ternary(folder, "int4"),
    "our own w8a16": lambda folder: ternary(folder, "w8a16"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_each_stored_tensor_belongs_to_one_weight_or_stays(tmp_path: Path, case: str) -> None:
    evidence = gather(open_checkpoint(SOURCES[case](tmp_path)))
    converter, _ = choose(evidence, None)
    assert converter is DEQUANT
    modules = plain_view(evidence.checkpoint).modules
    used = [tensor.name for module in modules for part, tensor in module.parts.items() if part != "bias"]
    assert len(used) == len(set(used))
    for module in modules:
        assert isinstance(module.made, Formula)
        names = {operand.tensor.name for operand in module.made.operands}
        assert names < {tensor.name for tensor in module.parts.values()}
    recipe = converter.plan(evidence, {}, None)
    written = {output.name for step in recipe.steps for output in step.outputs}
    assert written == {module.plain for module in modules} | (evidence.checkpoint.tensors.keys() - set(used))


def test_what_holds_nothing_packed_is_neither_recognised_nor_converted(tmp_path: Path) -> None:
    evidence = gather(open_checkpoint(save(tmp_path / "plain", OTHERS)))
    assert DEQUANT.recognise(evidence) is None
    with pytest.raises(ConversionRefused, match="has no packed weights; use `plain`"):
        DEQUANT.plan(evidence, {}, None)


@pytest.mark.parametrize("name", sorted(old_names()))
def test_old_names_still_lead_to_it(tmp_path: Path, name: str) -> None:
    result = convert(packed_words(tmp_path / "source"), tmp_path / "out", converter=name)
    assert result.converter == "dequant"
    assert result.reason == f"named on the command line by its old name, {name}"


def test_packed_numbers_that_nobody_undoes_are_copied_only_on_the_users_word(tmp_path: Path) -> None:
    state = {f"{LAYER}qweight": torch.ones(8, 3, dtype=torch.int32)}
    source = quantized(tmp_path / "s", state, {"quant_method": "spqr"})
    with pytest.raises(ConversionRefused, match=r"qweight: is I32 .* spqr .* `--converter plain`"):
        convert(source, tmp_path / "out")
    result = convert(source, tmp_path / "out", converter="plain")
    assert result.converter == "plain"


def test_a_cast_of_packed_numbers_is_refused(tmp_path: Path) -> None:
    source = packed_words(tmp_path / "source")
    with pytest.raises(ConversionRefused, match="leave --dtype away"):
        convert(source, tmp_path / "out", converter="plain", dtype="bfloat16")


@pytest.mark.parametrize("offset", [0, -128])
@pytest.mark.parametrize("stands", ["nowhere", "in quant_bias alone", "beside it"])
def test_a_bias_that_only_a_kernel_holds_is_told(tmp_path: Path, offset: int, stands: str) -> None:
    """msmodelslim, on_w8a8_static: quant_bias = round(bias / deq_scale - input_offset * sum of codes)."""
    codes = torch.randint(-128, 128, (64, 96), generator=torch.Generator().manual_seed(4), dtype=torch.int8)
    step, scale = torch.tensor([0.02]), torch.full((64,), 0.003)
    bias = torch.zeros(64)
    if stands != "nowhere":
        bias[5] = 0.5
    added = torch.round(bias / (scale * step) - codes.float().sum(1) * offset).int()
    parts = {
        "weight": codes, "deq_scale": scale * step, "input_scale": step, "quant_bias": added,
        "input_offset": torch.tensor([float(offset)]),
    }  # fmt: skip
    if stands == "beside it":
        parts["bias"] = bias
    source = quantized(tmp_path / "s", {f"{LAYER}{name}": tensor for name, tensor in parts.items()}, {})
    notes = convert(source, tmp_path / "out", converter="dequant").notes
    told = [note for note in notes if "a bias that stands in no other tensor: it is not written" in note]
    assert len(told) == (stands == "in quant_bias alone")
    assert all(note.startswith(f"{LAYER}quant_bias holds") for note in told)
