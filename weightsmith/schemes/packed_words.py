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


def fields_of(
    block: Bits, bits: int, count: int, *, dense: bool = True, high_first: bool = False
) -> NDArray[np.uint8]:
    """The first `count` unsigned codes of each row of 8- or 32-bit words, lowest bits first.

    dense: a code may cross from one word into the next; else a word holds width // bits whole ones.
    high_first: of two codes in a byte the high one is first.
    """
    source = np.ascontiguousarray(block)
    if 8 % bits == 0:
        return _lanes(source.view(np.uint8), bits, 8 // bits, high_first=high_first)[:, :count]
    if not dense:
        return _lanes(source, bits, WORD_BITS // bits)[:, :count]
    return _crossing(source, bits)[:, :count]


def _lanes(source: Bits, bits: int, lanes: int, *, high_first: bool = False) -> NDArray[np.uint8]:
    """Codes that stand whole in their words."""
    codes = np.empty((len(source), source.shape[1] * lanes), np.uint8)
    word = source.dtype.type
    for lane in range(lanes):
        at = lanes - 1 - lane if high_first else lane
        codes[:, at::lanes] = source >> word(bits * lane) & word((1 << bits) - 1)
    return codes


def _crossing(words: Bits, bits: int) -> NDArray[np.uint8]:
    """Codes that may cross words: 32 of them fill `bits` words."""
    rows, columns = words.shape
    whole = np.zeros((rows, -(-columns // bits) * bits), np.uint32)
    whole[:, :columns] = words
    codes = np.empty((rows, whole.shape[1] // bits * WORD_BITS), np.uint8)
    for place in range(WORD_BITS):
        word, shift = divmod(place * bits, WORD_BITS)
        taken = whole[:, word::bits] >> np.uint32(shift)
        if shift + bits > WORD_BITS:
            taken |= whole[:, word + 1 :: bits] << np.uint32(WORD_BITS - shift)
        codes[:, place::WORD_BITS] = taken & np.uint32((1 << bits) - 1)
    return codes
