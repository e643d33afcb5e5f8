"""The ternary quantizer of BitCPM: from latent weights to {-s, 0, +s}, with every rounding accounted for.

Per group of g consecutive input channels of an output row (BitCPM-CANN technical report, eq. 1-2):

    s  = max(mean(|W|), eps)
    Wq = clamp(round(W / s), -1, 1) * s

Here mean(|W|) is the exact rational number. `round` goes half to even, so |W| / s = 1/2 gives 0 and the code
is sign(W) exactly when |W| > s / 2: a comparison, no division, made with the exact s. s is then rounded once,
half to even, to the dtype that is written. Zeros are +0.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.float_formats import (
    BF16,
    F32,
    FORMATS,
    FloatFormat,
    array_type,
    cast,
    floor_magnitudes,
    round_magnitudes,
)
from weightsmith.values.brackets import Halves, bracket_means, can_bracket
from weightsmith.values.means import LARGEST_GROUP, Scratch, means_rounded_to_odd

if TYPE_CHECKING:
    from weightsmith.checkpoint.arrays import Array, Bits, Doubles, Mask, Singles

# The paper leaves eps open. 1e-5 is what the published BitNet b1.58 quantizer clamps its scale to
# (Microsoft, "The Era of 1-bit LLMs: Training Tips, Code and FAQ", weight_quant: clamp_(min=1e-5)). It
# matters only for groups whose mean is below it: dead channels.
EPS = 1e-5
# Its neighbours among the float32 numbers, which do not hold it.
_EPS_BELOW, _EPS_ABOVE = (np.nextafter(np.float32(EPS), np.float32(end)) for end in (0, 1))

# Elements of a block and of a chunk of blocks. A chunk is what a piece of a conversion holds, and a block is as large
# as caches allow. Between calls of numpy threads wait for the interpreter's lock: calls that last longer let more of
# them work. Measured, 1.6 GB on 16 cores of an Intel Xeon: with chunks of 2**20 and blocks of 2**17 2.8, 2.6, 2.1 and
# 2.4 s with 1, 2, 4 and 8 threads; with these 3.6, 1.6, 1.6 and 1.6 s. On two cores of an AMD EPYC both are equal.
_CHUNK = 1 << 22
_BLOCK = 1 << 18

# What latent weights may be stored as.
READABLE = ("BF16", "F16", "F32")


class NotFiniteError(ValueError):
    """The weights hold NaN or infinity, or their scale is too large for the dtype to be written."""


def fuse(weights: Array, source: str, target: str, group_size: int, out: Bits | None = None) -> Array:
    """Fused weights of a [rows, cols] array, in dtype `target`.

    source, target: safetensors names of `weights`' own dtype and of the result, out of READABLE. group_size
    divides cols; -1 means one scale per row.
    out: where the patterns are to lie, contiguous; the result is a view of it.
    Raises ValueError for a group size that does not fit, NotFiniteError for weights that have no mean.
    """
    read, write = FORMATS[source], FORMATS[target]
    rows, cols = weights.shape
    size = cols if group_size == -1 else group_size
    if size < 1 or size > LARGEST_GROUP or cols % size:
        raise ValueError(f"groups of {group_size} do not divide rows of {cols} channels")
    patterns = weights.view(read.word).reshape(-1, size)
    fused = np.empty(patterns.shape, write.word) if out is None else out.reshape(patterns.shape)
    per_block = max(1, _BLOCK // size)
    step = max(per_block, _CHUNK // size)
    buffers = _Buffers.for_groups(min(per_block, len(patterns)), size, read, write)
    for start in range(0, len(patterns), step):
        _fuse_chunk(patterns[start : start + step], read, write, buffers, fused[start : start + step])
    return fused.reshape(rows, cols).view(array_type(write))


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Buffers for one block. halves: None where float32 sums cannot decide."""

    magnitudes: Bits
    above: Mask
    scratch: Scratch
    halves: Halves | None

    @staticmethod
    def for_groups(block: int, size: int, read: FloatFormat, write: FloatFormat) -> _Buffers:
        bracketed = read is BF16 and write.width == 16 and can_bracket(size)
        return _Buffers(
            np.empty((block, size), read.word),
            np.empty((block, size), np.bool_),
            Scratch.for_blocks(block * size, read),
            Halves.for_blocks(block * size) if bracketed else None,
        )


def _fuse_chunk(patterns: Bits, read: FloatFormat, write: FloatFormat, buffers: _Buffers, out: Bits) -> None:
    scales, thresholds = _steps(patterns, read, write, buffers)
    if int(scales.max()) >= write.infinity:
        raise NotFiniteError(f"a scale is too large for {write.dtype}")
    per_block = len(buffers.above)
    for start in range(0, len(patterns), per_block):
        block = slice(start, start + per_block)
        rows, fused = patterns[block], out[block]
        magnitudes, codes = buffers.magnitudes[: len(rows)], buffers.above[: len(rows)]
        np.bitwise_and(rows, read.word.type(read.magnitude), out=magnitudes)
        np.greater(magnitudes, thresholds[block, None], out=codes)
        _write_signs(rows, read, write, fused)
        np.bitwise_or(fused, scales[block, None], out=fused)
        np.multiply(fused, codes, out=fused)


def _steps(patterns: Bits, read: FloatFormat, write: FloatFormat, buffers: _Buffers) -> tuple[Bits, Bits]:
    """The scale of each group as it is written, and its threshold; both patterns, [groups].

    Neither falls when the mean rises: where both are the same for a lower and an upper bound of the mean, they
    are those of the exact mean. That settles all but some three groups of a thousand.
    """
    if buffers.halves is None:
        return _exact_steps(patterns, read, write, buffers.scratch)
    lower, upper = bracket_means(patterns, buffers.halves)
    scales, thresholds = _steps_of_singles(np.maximum(lower, _EPS_BELOW), write)
    others = _steps_of_singles(np.maximum(upper, _EPS_ABOVE), write)
    doubtful = np.flatnonzero((scales != others[0]) | (thresholds != others[1]) | ~np.isfinite(upper))
    if len(doubtful):
        scales[doubtful], thresholds[doubtful] = _exact_steps(
            patterns[doubtful], read, write, buffers.scratch
        )
    return scales, thresholds


def _steps_of_singles(scales: Singles, write: FloatFormat) -> tuple[Bits, Bits]:
    """As `_exact_steps`, for float32 scales of bfloat16 groups: a bfloat16 is a float32 cut off."""
    written, _ = cast(scales, F32, write)
    thresholds = (scales * np.float32(0.5)).view(np.uint32) >> np.uint32(16)
    return written.view(write.word), thresholds.astype(np.uint16)


def _exact_steps(
    patterns: Bits, read: FloatFormat, write: FloatFormat, scratch: Scratch
) -> tuple[Bits, Bits]:
    magnitudes = patterns & read.word.type(read.magnitude)
    largest = int(magnitudes.max())
    if largest >= read.infinity:
        raise NotFiniteError("NaN or infinity among the weights")
    scales = np.maximum(means_rounded_to_odd(magnitudes, read, scratch, largest), EPS)
    return round_magnitudes(scales, write), _thresholds(scales, read)


def _thresholds(scales: Doubles, fmt: FloatFormat) -> Bits:
    """Patterns t such that a magnitude exceeds s / 2 exactly when its pattern exceeds t.

    |W| lies on the grid of `fmt`, so |W| > s/2 is the same as |W| > (the largest grid point not above s/2).
    Halving keeps a number rounded to odd rounded to odd, and such a number is on the grid only if s/2 is.
    """
    return floor_magnitudes(scales * 0.5, fmt)


def _write_signs(patterns: Bits, read: FloatFormat, write: FloatFormat, out: Bits) -> None:
    """Writes the sign bits of `patterns` to `out`, at the place where the written format has them."""
    sign = write.word.type(write.sign)
    if read.width == write.width:
        np.bitwise_and(patterns, sign, out=out)
    elif read.width > write.width:
        shifted = patterns >> patterns.dtype.type(read.width - write.width)
        np.bitwise_and(shifted.astype(write.word), sign, out=out)
    else:
        widened = patterns.astype(write.word) << write.word.type(write.width - read.width)
        np.bitwise_and(widened, sign, out=out)
