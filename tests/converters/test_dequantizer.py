"""Every dequantizing converter accounts for each stored tensor once: none of a weight's parts can be left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from weightsmith.converters import BUILT_IN
from weightsmith.converters.dequantizer import Dequantizer

from tests.converters.test_dequant import BLOCKS, INT4, LAYER, OTHERS, compressed, fp8, mxfp4, quantized
from tests.values.making import fused_llama, save
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.convert.plan.choose import choose, gather
from weightsmith.errors import ConversionRefused

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
    "compressed-tensors-dequant": packed_words,
    "fp8-dequant": deepseek,
    "mxfp4-dequant": gpt_oss,
    "unpack": lambda folder: ternary(folder, "int4"),
    "unpack of w8a16": lambda folder: ternary(folder, "w8a16"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_each_stored_tensor_belongs_to_one_weight_or_stays(tmp_path: Path, case: str) -> None:
    evidence = gather(open_checkpoint(SOURCES[case](tmp_path)))
    converter, _ = choose(evidence, None)
    assert isinstance(converter, Dequantizer)
    assert converter.name == case.split()[0]
    weights = list(converter.stored_weights(evidence, "BF16"))
    used = [name for weight in weights for name in (weight.codes.name, *weight.parts)]
    assert len(used) == len(set(used))
    for weight in weights:
        assert {companion.tensor.name for companion in weight.companions} <= set(weight.parts)
    recipe = converter.plan(evidence, {}, None)
    written = {output.name for step in recipe.steps for output in step.outputs}
    assert written == {weight.name for weight in weights} | (evidence.checkpoint.tensors.keys() - set(used))


@pytest.mark.parametrize(
    "converter", [c for c in BUILT_IN if isinstance(c, Dequantizer)], ids=lambda c: c.name
)
def test_what_holds_nothing_packed_is_neither_recognised_nor_converted(
    tmp_path: Path, converter: Dequantizer
) -> None:
    evidence = gather(open_checkpoint(save(tmp_path / "plain", OTHERS)))
    assert converter.recognise(evidence) is None
    with pytest.raises(ConversionRefused, match=f"has no {converter.kind}; use `plain`"):
        converter.plan(evidence, {}, None)
