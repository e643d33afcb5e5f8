"""The codes -1, 0, +1 and their scales, taken out of fused ternary weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.float_formats import round_magnitudes
from weightsmith.values.ternary_quantizer import EPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.checkpoint.float_formats import FloatFormat


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
    others = magnitudes != scales[:, :, None]
    others &= present
    if others.any():
        row, group = (int(index[0]) for index in np.nonzero(others.any(axis=2)))
        raise NotTernaryError(
            f"row {row} holds several magnitudes in channels {group * size} to {(group + 1) * size - 1}"
        )
    signs = sign.astype(np.int8)
    np.multiply(signs, np.int8(-2), out=signs)
    signs += np.int8(1)
    codes = present.reshape(rows, cols).view(np.int8) * signs
    smallest = round_magnitudes(np.array([EPS]), fmt)[0]
    return codes, np.where(scales == 0, smallest, scales)
