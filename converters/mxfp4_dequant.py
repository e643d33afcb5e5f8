"""mxfp4-dequant: gpt-oss experts (`X_blocks`, `X_scales`) to bf16 `X`, as transformers loads them.

Two 4-bit floats a byte, 32 to a scale 2**(e - 127); the result is transposed to [experts, in, out]
(transformers, integrations/mxfp4.py, convert_moe_packed_tensors).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weightsmith.convert.protocol import Beside, Output, Rows, Step
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.dequantize import NotFiniteProductError, microscaled

from .plain import plain_recipe
from .scaled import DAMAGED, unquantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.convert.protocol import Evidence, Recipe

_BLOCKS, _SCALES = "_blocks", "_scales"
_BYTES = 16  # of a group of 32 numbers
# Output channels of one matrix that are widened at a time: 128 rows of 2,880 numbers make 1.5 MB of float32.
_STRIP = 128


@dataclass(frozen=True, slots=True)
class Widen:
    """Whole matrices [rows, groups * 16] to [groups * 32, rows]."""

    tensor: str
    scales: str
    rows: int
    target: str

    def __call__(self, blocks: tuple[NDArray[Any], ...], first_row: int) -> tuple[NDArray[Any], ...]:
        codes, exponents = blocks
        if exponents.size and int(exponents.max()) == 255:
            raise ConversionRefused(self.scales, f"holds NaN among the scales of {self.tensor}", DAMAGED)
        matrices = codes.reshape(-1, self.rows, exponents.shape[1], _BYTES)
        scales = exponents.reshape(-1, self.rows, exponents.shape[1])
        word = np.dtype("u4") if self.target == "F32" else np.dtype("u2")
        made = np.empty((len(matrices), exponents.shape[1] * 2 * _BYTES, self.rows), word)
        try:
            for matrix, scale, out in zip(matrices, scales, made, strict=True):
                for at in range(0, self.rows, _STRIP):
                    strip = slice(at, at + _STRIP)
                    out[:, strip] = microscaled(matrix[strip], scale[strip], self.target).view(word).T
        except NotFiniteProductError as error:
            raise ConversionRefused(self.tensor, f"{error} (rows {first_row} and on)", DAMAGED) from error
        return (made,)


@dataclass(frozen=True, slots=True)
class Mxfp4Dequant:
    """Experts in MXFP4 become plain ones; everything else is bf16 already."""

    name: str = "mxfp4-dequant"

    @property
    def options(self) -> Mapping[str, str]:
        return {}

    def recognise(self, evidence: Evidence) -> str | None:
        found = _blocks(evidence.checkpoint)
        return f"{found[0]} and {len(found) - 1} more are MXFP4 blocks" if found else None

    def plan(self, evidence: Evidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        checkpoint, target = evidence.checkpoint, dtype or "BF16"
        made: dict[str, tuple[Step, ...]] = {}
        folded: dict[str, str] = {}
        for name in _blocks(checkpoint):
            scales = name.removesuffix(_BLOCKS) + _SCALES
            if scales not in checkpoint.tensors:
                raise ConversionRefused(name, f"has no scale beside it: {scales} is missing", DAMAGED)
            made[name] = (_step(checkpoint.tensors[name], checkpoint.tensors[scales], target),)
            folded[scales] = f"folded into {name.removesuffix(_BLOCKS)}"
        if not made:
            raise ConversionRefused(checkpoint.path, "has no MXFP4 blocks", "use `plain` to copy it")
        plain = plain_recipe(evidence, dtype, made, folded)
        return replace(plain, config={**plain.config, **unquantized(evidence, target)})


def _blocks(checkpoint: Checkpoint) -> list[str]:
    return [
        name
        for name, tensor in checkpoint.tensors.items()
        if name.endswith(_BLOCKS)
        and tensor.dtype == "U8"
        and len(tensor.shape) == 4
        and tensor.shape[-1] == _BYTES
    ]


def _step(blocks: Tensor, scales: Tensor, target: str) -> Step:
    """blocks [E, N, G, 16] and scales [E, N, G] -> [E, G * 32, N]."""
    experts, rows, groups, _ = blocks.shape
    if scales.dtype != "U8" or scales.shape != blocks.shape[:-1] or not blocks.contiguous:
        raise ConversionRefused(
            scales.name, f"is {scales.dtype} {list(scales.shape)}, not a scale for each block", DAMAGED
        )
    flat = replace(blocks, shape=(experts * rows, groups * _BYTES), strides=(groups * _BYTES, 1))
    name = blocks.name.removesuffix(_BLOCKS)
    output = Output(name, target, (experts, groups * _BYTES * 2, rows))
    kernel = Widen(name, scales.name, rows, target)
    return Step((output,), (Rows(flat, 0, experts * rows),), kernel, (Beside(scales),), together=rows)
