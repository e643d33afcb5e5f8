"""Signed integer codes packed into 32-bit words, as compressed-tensors does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weightsmith.checkpoint.arrays import Bits

WORD_BITS = 32


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
    source: Bits = np.ascontiguousarray(words)
    lanes = per_word
    if 8 % bits == 0:
        source, lanes = source.view(np.uint8), 8 // bits
    for lane in range(lanes):
        shifted = source >> source.dtype.type(bits * lane)
        stored[:, lane::lanes] = shifted & source.dtype.type((1 << bits) - 1)
    codes: NDArray[np.int8] = (stored[:, :cols] - np.uint8(1 << (bits - 1))).view(np.int8)
    return codes
