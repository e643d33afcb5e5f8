"""mxfp4-dequant: gpt-oss experts (`X_blocks`, `X_scales`) to bf16 `X`, as transformers loads them.

Two 4-bit floats a byte, 32 to a scale 2**(e - 127); the result is transposed to [experts, in, out]
(transformers, integrations/mxfp4.py, convert_moe_packed_tensors).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.float_formats import FORMATS
from weightsmith.convert.protocol import Companion
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.dequantize import NotFiniteProductError, microscaled, values_of
from weightsmith.values.underflow import keeps_products, products_to_zero

from .dequantizer import DAMAGED, Dequantizer, StoredWeight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.convert.protocol import Arrays, Blocks, SourceEvidence

_BLOCKS, _SCALES = "_blocks", "_scales"
_BYTES = 16  # of a group of 32 numbers
# Output channels of one matrix that are widened at a time: 128 rows of 2,880 numbers make 1.5 MB of float32.
_STRIP = 128


@dataclass(frozen=True, slots=True)
class DequantizeMxfp4:
    """Whole matrices [rows, groups * 16] to [groups * 32, rows].

    tensor, scales: the names of the weight and of its scales, for messages.
    rows: of one matrix.
    target: the dtype to make.
    """

    tensor: str
    scales: str
    rows: int
    target: str

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        codes, exponents = (block.view(np.uint8) for block in blocks)
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

    def made_zero(self, blocks: Blocks, first_row: int, arrays: Arrays) -> int:
        if keeps_products(values_of(blocks[1], "F8_E8M0"), 0.5, "F8_E8M0", self.target):
            return 0
        codes, target = blocks[0].view(np.uint8), FORMATS[self.target]
        nonzero = sum(int(np.count_nonzero(codes & np.uint8(mask))) for mask in (0x07, 0x70))
        return products_to_zero(nonzero, arrays[0].view(target.word), target)


def _recognise(evidence: SourceEvidence) -> str | None:
    found = _names(evidence.checkpoint)
    return f"{found[0]} and {len(found) - 1} more are MXFP4 blocks" if found else None


def _stored_weights(evidence: SourceEvidence, dtype: str) -> Iterator[StoredWeight]:
    tensors = evidence.checkpoint.tensors
    for name in _names(evidence.checkpoint):
        scales = name.removesuffix(_BLOCKS) + _SCALES
        if scales not in tensors:
            raise ConversionRefused(name, f"has no scale beside it: {scales} is missing", DAMAGED)
        yield _experts(tensors[name], tensors[scales], dtype)


def _names(checkpoint: Checkpoint) -> list[str]:
    return [
        name
        for name, tensor in checkpoint.tensors.items()
        if name.endswith(_BLOCKS)
        and tensor.dtype == "U8"
        and len(tensor.shape) == 4
        and tensor.shape[-1] == _BYTES
    ]


def _experts(blocks: Tensor, scales: Tensor, dtype: str) -> StoredWeight:
    """blocks [E, N, G, 16] and scales [E, N, G] -> [E, G * 32, N]."""
    experts, rows, groups, _ = blocks.shape
    if scales.dtype != "U8" or scales.shape != blocks.shape[:-1] or not blocks.contiguous:
        raise ConversionRefused(
            scales.name, f"is {scales.dtype} {list(scales.shape)}, not a scale for each block", DAMAGED
        )
    flat = replace(blocks, shape=(experts * rows, groups * _BYTES), strides=(groups * _BYTES, 1))
    name = blocks.name.removesuffix(_BLOCKS)
    shape = (experts, groups * _BYTES * 2, rows)
    kernel = DequantizeMxfp4(name, scales.name, rows, dtype)
    return StoredWeight(name, shape, dtype, flat, (Companion(scales),), kernel, (scales.name,), together=rows)


MXFP4_DEQUANT = Dequantizer(
    name="mxfp4-dequant",
    recognise=_recognise,
    stored_weights=_stored_weights,
    kind="MXFP4 blocks",
)
