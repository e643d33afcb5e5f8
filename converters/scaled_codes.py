"""Weights stored as codes beside their scales: how the two are paired, checked and multiplied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.float_formats import FORMATS
from weightsmith.convert.protocol import Companion
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.dequantize import LEAST_CODES, SCALES, NotFiniteProductError, multiply, values_of
from weightsmith.schemes.packed_words import WORD_BITS, unpack
from weightsmith.schemes.stated import ScaleBlock
from weightsmith.values.blocks import grid
from weightsmith.values.underflow import keeps_products, products_to_zero

from .dequantizer import DAMAGED, StoredWeight

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.arrays import Bits, Singles
    from weightsmith.convert.protocol import Arrays, Blocks

# How zero points are stored: as I8, one beside each scale, or packed in 32-bit words along the rows.
ZeroPoints = Literal["bytes", "words"]


@dataclass(frozen=True, slots=True)
class Dequantize:
    """(codes - zero points) * scales.

    tensor, scale_tensor: the names of codes and scales, for messages.
    codes: a dtype of CODES; None where the codes are packed in 32-bit words.
    bits: of one code.
    cols: channels of the weight.
    width: channels that share a scale.
    scales: the dtype of the scales.
    target: the dtype to make.
    zeros: how the zero points are stored; None where there are none.
    ternary: codes other than -1, 0, +1 are refused.
    """

    tensor: str
    scale_tensor: str
    codes: str | None
    bits: int
    cols: int
    width: int
    scales: str
    target: str
    zeros: ZeroPoints | None = None
    ternary: bool = False

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        codes = self._codes(blocks[0], first_row)
        scales = values_of(blocks[1], self.scales)
        if not np.isfinite(scales).all():
            row = first_row + int(np.flatnonzero(~np.isfinite(scales).all(axis=1))[0])
            raise ConversionRefused(
                self.scale_tensor, f"the scale of row {row} of {self.tensor} is NaN or infinite", DAMAGED
            )
        self._take_zero_points(codes, blocks, first_row)
        try:
            return (multiply(codes, scales, self.width, self.scales, self.target),)
        except NotFiniteProductError as error:
            last = first_row + len(codes) - 1
            raise ConversionRefused(self.tensor, f"{error} (rows {first_row} to {last})", DAMAGED) from error

    def made_zero(self, blocks: Blocks, first_row: int, arrays: Arrays) -> int:
        scales = values_of(blocks[1], self.scales)
        if keeps_products(scales, LEAST_CODES.get(self.codes or "", 1.0), self.scales, self.target):
            return 0
        codes = self._codes(blocks[0], first_row)
        self._take_zero_points(codes, blocks, first_row)
        codes *= np.repeat(scales != 0, self.width, axis=1)[:, : self.cols]
        target = FORMATS[self.target]
        return products_to_zero(int(np.count_nonzero(codes)), arrays[0].view(target.word), target)

    def _take_zero_points(self, codes: Singles, blocks: Blocks, first_row: int) -> None:
        if self.zeros is not None:
            points = self._zero_points(blocks[2], first_row)
            codes -= np.repeat(points, self.width, axis=1)[:, : self.cols]

    def _codes(self, block: Bits, first_row: int) -> Singles:
        if self.codes is not None:
            codes = values_of(block, self.codes)
        else:
            codes = unpack(block.view(np.uint32), self.bits, self.cols).astype(np.float32)
        if self.ternary and codes.size and np.abs(codes).max() > 1:
            raise ConversionRefused(
                self.tensor,
                f"holds other codes than -1, 0 and +1 (from row {first_row} on): it is not ternary",
                "use `compressed-tensors-dequant`",
            )
        return codes

    def _zero_points(self, block: Bits, first_row: int) -> Singles:
        """Zero points [rows, groups]; packed ones lie along the rows, row r at place r % n of its word."""
        if self.zeros == "bytes":
            return block.view(np.int8).astype(np.float32)
        per_word = WORD_BITS // self.bits
        place = (np.arange(first_row, first_row + len(block)) % per_word * self.bits).astype(np.uint32)
        stored = (block.view(np.uint32) >> place[:, None]) & np.uint32((1 << self.bits) - 1)
        return stored.astype(np.float32) - np.float32(1 << (self.bits - 1))


def scaled_weight(
    codes: Tensor,
    scale: Tensor,
    dtype: str,
    stated: ScaleBlock | None = None,
    points: Tensor | None = None,
    ternary: bool = False,
) -> StoredWeight:
    """A weight whose codes are of a dtype of CODES and need no unpacking. Raises ConversionRefused.

    dtype: of the plain weight.
    stated: the block that the config states.
    points: a zero point beside each scale; None where there are none.
    ternary: codes other than -1, 0, +1 are refused.
    """
    name, (rows, cols) = codes.name, grid(codes)
    block = scale_block(name, (rows, cols), scale, stated)
    if len(codes.shape) > 2 and block.rows < rows and codes.shape[-2] % block.rows:
        raise ConversionRefused(
            name, f"of {list(codes.shape)} has blocks of {block.rows} rows that cross its matrices", DAMAGED
        )
    if points is not None and (points.dtype != "I8" or grid(points) != grid(scale)):
        raise ConversionRefused(
            points.name, f"is {points.dtype} {list(points.shape)}, unlike the scales", DAMAGED
        )
    beside = (scale,) if points is None else (scale, points)
    zeros: ZeroPoints | None = None if points is None else "bytes"
    kernel = Dequantize(
        name, scale.name, codes.dtype, 8, cols, block.cols, scale.dtype, dtype, zeros, ternary
    )
    companions = tuple(Companion(tensor, block.rows) for tensor in beside)
    parts = tuple(tensor.name for tensor in beside)
    return StoredWeight(name, codes.shape, dtype, codes, companions, kernel, parts)


def scale_block(weight: str, shape: tuple[int, int], scale: Tensor, stated: ScaleBlock | None) -> ScaleBlock:
    """What the shape of the scales says about a [rows, cols] weight, by the rules of compressed-tensors' `dequantize`.

    One scale for all, one per row, groups of channels, or blocks; blocks that do not divide the weight need
    the config's word (`stated`). Raises ConversionRefused.
    """
    rows, cols = shape
    if scale.elements == 1:
        return ScaleBlock(rows, cols)
    down, across = grid(scale)
    if stated is not None and (down, across) == (-(-rows // stated.rows), -(-cols // stated.cols)):
        return stated
    if down and across and rows % down == 0 and cols % across == 0:
        return ScaleBlock(rows // down, cols // across)
    raise ConversionRefused(
        scale.name,
        f"its shape {list(scale.shape)} does not divide {weight} of [{rows}, {cols}] into equal blocks",
        DAMAGED,
    )


def scale_of(checkpoint: Checkpoint, weight: str, *names: str) -> Tensor:
    """The first tensor of these `names` that there is, as scales of `weight`. Raises ConversionRefused for none."""
    found = next((checkpoint.tensors[name] for name in names if name in checkpoint.tensors), None)
    if found is None:
        raise ConversionRefused(weight, f"has no scale beside it: {' or '.join(names)} is missing", DAMAGED)
    if found.dtype not in SCALES or not found.elements:
        raise ConversionRefused(
            found.name, f"is {found.dtype} {list(found.shape)}: no scales of {weight}", DAMAGED
        )
    return found


def read_integers(checkpoint: Checkpoint, tensor: Tensor, most: int = 64) -> list[int]:
    """The numbers of a tensor of a few integers, such as a shape. Raises ConversionRefused for a larger one."""
    if tensor.elements > most or not tensor.dtype.startswith(("I", "U")):
        raise ConversionRefused(
            tensor.name, f"is {tensor.dtype} {list(tensor.shape)}, not a few integers", DAMAGED
        )
    with TensorReader(checkpoint) as reader:
        return [int(number) for number in reader.read(tensor).reshape(-1)]
