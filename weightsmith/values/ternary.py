"""The ternary quantizer of BitCPM: from latent weights to {-s, 0, +s}, with every rounding accounted for.

Per group of g consecutive input channels of an output row (BitCPM-CANN technical report, eq. 1-2):

    s  = max(mean(|W|), eps)
    Wq = clamp(round(W / s), -1, 1) * s

Here mean(|W|) is the exact rational number. `round` goes half to even, so |W| / s = 1/2 gives 0 and the code
is sign(W) exactly when |W| > s / 2: a comparison, no division, made with the exact s. s is then rounded once,
half to even, to the dtype that is written. Zeros are +0.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weightsmith.values.floats import (
    FORMATS,
    Bits,
    Doubles,
    FloatFormat,
    array_type,
    floor_magnitudes,
    round_magnitudes,
)
from weightsmith.values.means import LARGEST_GROUP, Scratch, means_rounded_to_odd

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The paper leaves eps open. 1e-5 is what the published BitNet b1.58 quantizer clamps its scale to
# (Microsoft, "The Era of 1-bit LLMs: Training Tips, Code and FAQ", weight_quant: clamp_(min=1e-5)). It
# matters only for groups whose mean is below it: dead channels.
EPS = 1e-5

# Elements of a block and of a chunk of blocks. A block's float64 copy (512 KiB) stays in a core's L2 cache. The work
# per group, some 35 microseconds a call, is done once a chunk: 2**20 was the fastest of 2**16 ... 2**20 (1.11 times
# 2**18), for 2 MiB of memory.
_CHUNK = 1 << 20
_BLOCK = 1 << 16

READABLE = ("BF16", "F16", "F32")


class NotFiniteError(ValueError):
    """The weights hold NaN or infinity, or their scale is too large for the dtype to be written."""


def fuse(weights: NDArray[Any], source: str, target: str, group_size: int) -> NDArray[Any]:
    """Fused weights of a [rows, cols] array, in dtype `target`.

    source, target: safetensors names of `weights`' own dtype and of the result, out of READABLE. group_size
    divides cols; -1 means one scale per row. Raises ValueError for a group size that does not fit,
    NotFiniteError for weights that have no mean.
    """
    read, write = FORMATS[source], FORMATS[target]
    rows, cols = weights.shape
    size = cols if group_size == -1 else group_size
    if size < 1 or size > LARGEST_GROUP or cols % size:
        raise ValueError(f"groups of {group_size} do not divide rows of {cols} channels")
    patterns = weights.view(read.word).reshape(-1, size)
    fused = np.empty(patterns.shape, write.word)
    per_block = max(1, _BLOCK // size)
    scratch = Scratch.for_blocks(min(per_block, len(patterns)) * size, read)
    step = max(per_block, _CHUNK // size)
    magnitudes = np.empty((min(step, len(patterns)), size), read.word)
    for start in range(0, len(patterns), step):
        chunk = patterns[start : start + step]
        sizes = magnitudes[: len(chunk)]
        np.bitwise_and(chunk, read.word.type(read.magnitude), out=sizes)
        _fuse_chunk(chunk, sizes, read, write, scratch, fused[start : start + step], per_block)
    return fused.reshape(rows, cols).view(array_type(write))


def _fuse_chunk(
    patterns: Bits,
    magnitudes: Bits,
    read: FloatFormat,
    write: FloatFormat,
    scratch: Scratch,
    out: Bits,
    per_block: int,
) -> None:
    largest = int(magnitudes.max())
    if largest >= read.infinity:
        raise NotFiniteError("NaN or infinity among the weights")
    scales = np.maximum(means_rounded_to_odd(magnitudes, read, scratch, largest), EPS)
    scale_bits = round_magnitudes(scales, write)[:, None]
    if int(scale_bits.max()) >= write.infinity:
        raise NotFiniteError(f"a scale is too large for {write.dtype}")
    thresholds = _thresholds(scales, read)
    above = np.empty((per_block, patterns.shape[1]), np.bool_)
    for start in range(0, len(patterns), per_block):
        block = slice(start, start + per_block)
        codes = above[: len(patterns[block])]
        np.greater(magnitudes[block], thresholds[block], out=codes)
        _signs(patterns[block], read, write, out[block])
        np.bitwise_or(out[block], scale_bits[block], out=out[block])
        np.multiply(out[block], codes, out=out[block])


def _thresholds(scales: Doubles, fmt: FloatFormat) -> Bits:
    """Patterns t such that a magnitude exceeds s / 2 exactly when its pattern exceeds t, shape [groups, 1].

    |W| lies on the grid of `fmt`, so |W| > s/2 is the same as |W| > (the largest grid point not above s/2).
    Halving keeps a number rounded to odd rounded to odd, and such a number is on the grid only if s/2 is.
    """
    return floor_magnitudes(scales * 0.5, fmt)[:, None]


def _signs(patterns: Bits, read: FloatFormat, write: FloatFormat, out: Bits) -> None:
    """The sign bits of `patterns`, where the written format has its own."""
    sign = write.word.type(write.sign)
    if read.width == write.width:
        np.bitwise_and(patterns, sign, out=out)
    elif read.width > write.width:
        shifted = patterns >> patterns.dtype.type(read.width - write.width)
        np.bitwise_and(shifted.astype(write.word), sign, out=out)
    else:
        widened = patterns.astype(write.word) << write.word.type(write.width - read.width)
        np.bitwise_and(widened, sign, out=out)
