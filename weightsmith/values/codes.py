"""Integer codes: taken out of fused ternary weights, and packed into 32-bit words as compressed-tensors does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weightsmith.values.floats import round_magnitudes
from weightsmith.values.ternary import EPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weightsmith.values.floats import Bits, FloatFormat

WORD_BITS = 32


class NotTernaryError(ValueError):
    """A group of weights holds more than one magnitude, or a number that is not finite."""


def ternary_codes(patterns: Bits, fmt: FloatFormat, group_size: int) -> tuple[NDArray[np.int8], Bits]:
    """(codes [rows, cols] out of {-1, 0, +1}, patterns of the scales [rows, cols / g]) of fused weights.

    patterns: [rows, cols] of dtype `fmt`. codes * scales are the weights again, to the bit but for negative
    zeros. A group of zeros alone shows no scale; it gets the quantizer's smallest one, which is what the
    quantizer gives to dead channels. Raises NotTernaryError.
    """
    rows, cols = patterns.shape
    size = cols if group_size == -1 else group_size
    sign = patterns >> patterns.dtype.type(fmt.width - 1)
    magnitudes = (patterns & patterns.dtype.type(fmt.magnitude)).reshape(rows, -1, size)
    scales = magnitudes.max(axis=2)
    if scales.size and int(scales.max()) >= fmt.infinity:
        raise NotTernaryError("NaN or infinity among the weights")
    present = magnitudes != 0
    strangers = magnitudes != scales[:, :, None]
    strangers &= present
    if strangers.any():
        row, group = (int(index[0]) for index in np.nonzero(strangers.any(axis=2)))
        raise NotTernaryError(
            f"row {row} holds several magnitudes in channels {group * size} to {(group + 1) * size - 1}"
        )
    signs = sign.astype(np.int8)
    np.multiply(signs, np.int8(-2), out=signs)
    signs += np.int8(1)
    codes = present.reshape(rows, cols).view(np.int8) * signs
    smallest = round_magnitudes(np.array([EPS]), fmt)[0]
    return codes, np.where(scales == 0, smallest, scales)


def pack(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint32]:
    """Signed codes [rows, cols] in words [rows, ceil(cols / n)], n = 32 // bits.

    Element i of a row stands in word i // n at bits `bits * (i % n)`, as code + 2**(bits - 1); unused bits
    are zero (compressed-tensors, pack_quantized/helpers.py, pack_to_int32).
    """
    per_word = WORD_BITS // bits
    rows, cols = codes.shape
    stored = np.zeros((rows, -(-cols // per_word) * per_word), np.uint8)
    np.add(codes.view(np.uint8), np.uint8(1 << (bits - 1)), out=stored[:, :cols])
    if bits < 8:
        stored[:, :cols] &= np.uint8((1 << bits) - 1)
    if 8 % bits == 0:
        # The codes of a byte are neighbours, and bytes make words as they lie: no 32-bit arithmetic is needed.
        lanes = 8 // bits
        octets = stored[:, 0::lanes].copy()
        for lane in range(1, lanes):
            octets |= stored[:, lane::lanes] << np.uint8(bits * lane)
        return octets.view("<u4")
    words = np.zeros((rows, stored.shape[1] // per_word), np.uint32)
    for place in range(per_word):
        words |= stored[:, place::per_word].astype(np.uint32) << np.uint32(bits * place)
    return words


def unpack(words: NDArray[np.uint32], bits: int, cols: int) -> NDArray[np.int8]:
    """The inverse of `pack`: the first `cols` codes of each row."""
    per_word = WORD_BITS // bits
    stored = np.empty((len(words), words.shape[1] * per_word), np.uint8)
    source: NDArray[Any] = np.ascontiguousarray(words)
    lanes = per_word
    if 8 % bits == 0:
        source, lanes = source.view(np.uint8), 8 // bits
    for lane in range(lanes):
        shifted = source >> source.dtype.type(bits * lane)
        stored[:, lane::lanes] = shifted & source.dtype.type((1 << bits) - 1)
    codes: NDArray[np.int8] = (stored[:, :cols] - np.uint8(1 << (bits - 1))).view(np.int8)
    return codes
