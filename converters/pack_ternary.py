"""Packed layouts of ternary weights, without loss: int4 (compressed-tensors) and w8a16 (Ascend ModelSlim).

int4: weight_packed I32 [N, K/8], weight_scale [N, K/g], weight_shape I64 [2]; code = sign, scale = s.
w8a16: weight I8 [N, K], weight_scale [N, 1], weight_offset [N, 1] of zeros, quant_model_description.json
(vllm-ascend 0.23, quantization/methods/w8a16.py: W = (weight + offset) * scale).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from weightsmith.checkpoint.dtypes import TORCH_NAMES
from weightsmith.checkpoint.float_formats import FORMATS, array_type, cast
from weightsmith.convert.protocol import REMOVED, Output, RecipeStep
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.packed_words import pack
from weightsmith.schemes.stated import DESCRIPTION_FILE
from weightsmith.values.fusion import WHOLE_ROW
from weightsmith.values.ternary_codes import NotTernaryError, ternary_codes

from .modelslim_description import description

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.convert.protocol import Arrays, Blocks, Kernel, Recipe

PackLayout = Literal["int4", "w8a16"]
LAYOUTS: tuple[PackLayout, ...] = ("int4", "w8a16")
# vLLM's CPU kernel for 4-bit weights (CPUWNA16LinearKernel) takes only such rows and columns.
_VLLM_CPU_MULTIPLE = 32
_PER_WORD = 8
# Numbers that are packed at a time: they and what is made of them fit a core's second-level cache.
_STRIP = 1 << 17


@dataclass(frozen=True, slots=True)
class Pack:
    """Fused rows to codes and scales.

    tensor: the name of the weight, for messages.
    fuse: makes fused rows from latent ones; None where they are fused already.
    source: the dtype of the fused rows.
    scale: the dtype of the scales to write.
    """

    tensor: str
    fuse: Kernel | None
    source: str
    scale: str
    group_size: int
    layout: PackLayout

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        fused = self.fuse(blocks, first_row)[0] if self.fuse is not None else blocks[0]
        patterns = fused.view(FORMATS[self.source].word)
        step = max(1, _STRIP // patterns.shape[1])
        strips = [
            self._pack(patterns[start : start + step], first_row + start)
            for start in range(0, len(patterns), step)
        ]
        return tuple(np.concatenate(parts) for parts in zip(*strips, strict=True))

    def _pack(self, patterns: Bits, first_row: int) -> Arrays:
        try:
            codes, magnitudes = ternary_codes(patterns, FORMATS[self.source], self.group_size)
        except NotTernaryError as error:
            raise ConversionRefused(
                self.tensor,
                f"is not fused in groups of {self.group_size}: {error} (counted from row {first_row})",
                "give the right --set group_size, or fuse the latent weights",
            ) from error
        scales = self._rounded(magnitudes)
        if self.layout == "int4":
            return pack(codes, 4), scales
        return codes, scales, np.zeros_like(scales)

    def _rounded(self, patterns: Bits) -> NDArray[np.generic]:
        """The scales in the dtype that is written: only such as it holds exactly."""
        source, target = FORMATS[self.source], FORMATS[self.scale]
        scales, _ = cast(patterns.view(array_type(source)), source, target)
        back, _ = cast(scales, target, source)
        if not np.array_equal(back.view(source.word), patterns):
            raise ConversionRefused(
                self.tensor,
                f"has a scale that {self.scale} does not hold exactly, so packing would lose something",
                "choose another --dtype, or do not pack",
            )
        return scales


def pack_step(
    step: RecipeStep, layout: PackLayout, group_size: int, fuse: Kernel | None, dtype: str
) -> tuple[RecipeStep, ...]:
    """The steps that write a linear weight packed.

    step: the one that would write it plainly, in its own dtype.
    fuse: makes fused rows of dtype `dtype` from latent ones; None where they are fused already.
    dtype: of the scales.

    Raises ConversionRefused where the layout cannot hold it.
    """
    output = step.outputs[0]
    rows, cols = output.shape
    module = output.name.removesuffix("weight")
    source = dtype if fuse is not None else step.inputs[0].tensor.dtype
    kernel = Pack(output.name, fuse, source, dtype, group_size, layout)
    if layout == "w8a16":
        if group_size not in (WHOLE_ROW, cols):
            raise ConversionRefused(
                output.name,
                f"has one scale for each {group_size} of {cols} channels, and w8a16 has one for a whole row",
                "ship fused bf16 for Ascend (leave pack away), or use pack=int4 elsewhere",
            )
        column = [Output(f"{module}{name}", dtype, (rows, 1)) for name in ("weight_scale", "weight_offset")]
        return (replace(step, outputs=(replace(output, dtype="I8"), *column), kernel=kernel),)
    if cols % _PER_WORD:
        raise ConversionRefused(
            output.name, f"has {cols} channels, which do not fill words of {_PER_WORD} codes", "do not pack"
        )
    groups = 1 if group_size == WHOLE_ROW else cols // group_size
    packed = Output(f"{module}weight_packed", "I32", (rows, cols // _PER_WORD))
    scale = Output(f"{module}weight_scale", dtype, (rows, groups))
    shape = Output(f"{module}weight_shape", "I64", (2,))
    return (
        replace(step, outputs=(packed, scale), kernel=kernel),
        RecipeStep((shape,), (), data=np.array([rows, cols], "<i8").tobytes()),
    )


def packed_recipe(recipe: Recipe, layout: PackLayout, group_size: int, packed: Sequence[str]) -> Recipe:
    """The recipe with what tells a loader about the packed weights.

    packed: their names in the source.
    """
    if layout == "w8a16":
        return replace(
            recipe,
            files={**recipe.files, DESCRIPTION_FILE: description("W8A16", recipe.steps, packed)},
            config={**recipe.config, "quantization_config": REMOVED},
            notes=(*recipe.notes, "vLLM Ascend needs `--quantization ascend` for it"),
        )
    unpacked = [
        output.name.removesuffix(".weight")
        for step in recipe.steps
        for output in step.outputs
        if len(output.shape) == 2 and output.name.endswith(".weight")
    ]
    config = quantization_config(group_size, sorted({"lm_head", *unpacked}))
    return replace(
        recipe,
        config={**recipe.config, "quantization_config": config},
        notes=(*recipe.notes, *_notes(recipe, packed)),
    )


def quantization_config(group_size: int, ignored: list[str]) -> dict[str, object]:
    """What compressed-tensors reads: its schema takes no other keys than these (0.17, QuantizationConfig)."""
    weights: dict[str, object] = {"num_bits": 4, "type": "int", "symmetric": True}
    if group_size == WHOLE_ROW:
        weights["strategy"] = "channel"
    else:
        weights |= {"strategy": "group", "group_size": group_size}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ignored,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


def packing_dtype(dtype: str | None) -> str:
    """The dtype of the scales. Raises ConversionRefused for one that no loader takes."""
    if dtype == "F32":
        raise ConversionRefused(
            "--dtype", "float32 scales are read by no engine", f"choose {TORCH_NAMES['BF16']}"
        )
    return dtype or "BF16"


def _notes(recipe: Recipe, packed: Sequence[str]) -> list[str]:
    shapes = {o.name: o.shape for s in recipe.steps for o in s.outputs if o.name.endswith(".weight_packed")}
    for name in packed:
        rows, words = shapes[name + "_packed"]
        if rows % _VLLM_CPU_MULTIPLE or words * _PER_WORD % _VLLM_CPU_MULTIPLE:
            size = f"[{rows}, {words * _PER_WORD}]"
            return [f"vLLM on a CPU will not load it: {name} is {size}, and its kernel needs multiples of 32"]
    return []
