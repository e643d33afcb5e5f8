"""Weights stored as codes beside their scales: how the two are found, checked and multiplied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.convert.protocol import REMOVED, Beside, Output, Step, whole
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.dequantize import CODES, SCALES, NotFiniteProductError, multiply, values_of
from weightsmith.schemes.packed_words import WORD_BITS, unpack
from weightsmith.values.blocks import grid

from .plain import config_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.convert.protocol import Evidence

# What Ascend's quantizer writes beside the weights, and vllm-ascend looks for (modelslim_config.py).
DESCRIPTION = "quant_model_description.json"
DAMAGED = "the checkpoint is incomplete or damaged; download it again"


@dataclass(frozen=True, slots=True)
class Zeros:
    """Zero points beside the scales. packed: in words along the rows (compressed-tensors); otherwise of dtype I8."""

    packed: bool
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Dequantize:
    """(codes - zero points) * scales. codes: a dtype of CODES, or packed words of `bits` each.

    width: channels that share a scale. ternary: codes other than -1, 0, +1 are refused.
    """

    tensor: str
    scale_tensor: str
    codes: str
    bits: int
    cols: int
    width: int
    scales: str
    target: str
    zeros: Zeros | None = None
    ternary: bool = False

    def __call__(self, blocks: tuple[NDArray[Any], ...], first_row: int) -> tuple[NDArray[Any], ...]:
        codes = self._codes(blocks[0], first_row)
        scales = values_of(blocks[1], self.scales)
        if not np.isfinite(scales).all():
            row = first_row + int(np.flatnonzero(~np.isfinite(scales).all(axis=1))[0])
            raise ConversionRefused(
                self.scale_tensor, f"the scale of row {row} of {self.tensor} is NaN or infinite", DAMAGED
            )
        if self.zeros is not None:
            points = self._points(blocks[2], first_row, scales.shape[1])
            codes -= np.repeat(points, self.width, axis=1)[:, : self.cols]
        try:
            return (multiply(codes, scales, self.width, self.scales, self.target),)
        except NotFiniteProductError as error:
            last = first_row + len(codes) - 1
            raise ConversionRefused(self.tensor, f"{error} (rows {first_row} to {last})", DAMAGED) from error

    def _codes(self, block: NDArray[Any], first_row: int) -> NDArray[np.float32]:
        if self.codes in CODES:
            codes = values_of(block, self.codes)
        else:
            codes = unpack(block, self.bits, self.cols).astype(np.float32)
        if self.ternary and codes.size and np.abs(codes).max() > 1:
            raise ConversionRefused(
                self.tensor,
                f"holds other codes than -1, 0 and +1 (from row {first_row} on): it is not ternary",
                "use `compressed-tensors-dequant`",
            )
        return codes

    def _points(self, block: NDArray[Any], first_row: int, groups: int) -> NDArray[np.float32]:
        """Zero points [rows, groups]; packed ones lie along the rows, row r at place r % n of its word."""
        if self.zeros is None or not self.zeros.packed:
            return block.view(np.int8).astype(np.float32)
        per_word = WORD_BITS // self.bits
        place = (np.arange(first_row, first_row + len(block)) % per_word * self.bits).astype(np.uint32)
        stored = (block >> place[:, None]) & np.uint32((1 << self.bits) - 1)
        return stored.astype(np.float32) - np.float32(1 << (self.bits - 1))


@dataclass(frozen=True, slots=True)
class Block:
    """Rows and channels that share a scale."""

    rows: int
    cols: int


def block_of(weight: str, shape: tuple[int, int], scale: Tensor, stated: Block | None) -> Block:
    """What the shape of the scales says about a [rows, cols] weight, by the rules of compressed-tensors' `dequantize`.

    One scale for all, one per row, groups of channels, or blocks; blocks that do not divide the weight need
    the config's word (`stated`). Raises ConversionRefused.
    """
    rows, cols = shape
    if scale.elements == 1:
        return Block(rows, cols)
    down, across = grid(scale)
    if stated is not None and (down, across) == (-(-rows // stated.rows), -(-cols // stated.cols)):
        return stated
    if down and across and rows % down == 0 and cols % across == 0:
        return Block(rows // down, cols // across)
    raise ConversionRefused(
        scale.name,
        f"its shape {list(scale.shape)} does not divide {weight} of [{rows}, {cols}] into equal blocks",
        DAMAGED,
    )


def partner(checkpoint: Checkpoint, weight: str, *names: str) -> Tensor:
    """The first of `names` that there is, as scales of `weight`. Raises ConversionRefused when none is."""
    found = next((checkpoint.tensors[name] for name in names if name in checkpoint.tensors), None)
    if found is None:
        raise ConversionRefused(weight, f"has no scale beside it: {' or '.join(names)} is missing", DAMAGED)
    if found.dtype not in SCALES or not found.elements:
        raise ConversionRefused(
            found.name, f"is {found.dtype} {list(found.shape)}: no scales of {weight}", DAMAGED
        )
    return found


def dequantize_step(
    weight: Tensor, name: str, scale: Tensor, target: str, stated: Block | None = None, ternary: bool = False
) -> Step:
    """The step for a weight whose codes are of a dtype of CODES, and need no unpacking."""
    rows, cols = grid(weight)
    block = block_of(name, (rows, cols), scale, stated)
    if len(weight.shape) > 2 and block.rows < rows and weight.shape[-2] % block.rows:
        raise ConversionRefused(
            name, f"of {list(weight.shape)} has blocks of {block.rows} rows that cross its matrices", DAMAGED
        )
    kernel = Dequantize(
        name, scale.name, weight.dtype, 8, cols, block.cols, scale.dtype, target, ternary=ternary
    )
    output = Output(name, target, weight.shape)
    return Step((output,), whole(weight, rows), kernel, (Beside(scale, block.rows),))


def small(checkpoint: Checkpoint, tensor: Tensor, most: int = 64) -> list[int]:
    """The numbers of a tensor of a few integers, such as a shape. Raises ConversionRefused for a larger one."""
    if tensor.elements > most or not tensor.dtype.startswith(("I", "U")):
        raise ConversionRefused(
            tensor.name, f"is {tensor.dtype} {list(tensor.shape)}, not a few integers", DAMAGED
        )
    with TensorReader(checkpoint) as reader:
        return [int(number) for number in reader.read(tensor).reshape(-1)]


def quantization(config: Mapping[str, object] | None) -> dict[str, object]:
    """The quantization_config, at the top or in the text model's part; empty when there is none."""
    for place in (config, config.get("text_config") if config else None):
        found = place.get("quantization_config") if isinstance(place, dict) else None
        if isinstance(found, dict):
            return found
    return {}


def unquantized(evidence: Evidence, target: str) -> dict[str, object]:
    """The config changes that go with plain weights of dtype `target`."""
    gone: dict[str, object] = dict.fromkeys(
        ("quantization_config", "text_config.quantization_config", "compression_config"), REMOVED
    )
    return {**config_dtype(evidence.config, target), **gone}
