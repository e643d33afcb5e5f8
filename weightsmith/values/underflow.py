"""Numbers too small for the format that they are rounded to: how many become zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.checkpoint.float_formats import FloatFormat

# Elements that are looked at together: they stay in the cache.
_PART = 1 << 18


def cast_to_zero(read: Bits, source: FloatFormat, made: Bits, target: FloatFormat) -> int:
    """How many nonzero numbers are zero after a cast.

    read, made: patterns in `source` and `target`, of the same number of elements in the same order.
    """
    if target.least_exponent <= source.least_exponent:
        return 0
    before, after = read.reshape(-1), made.reshape(-1)
    return sum(
        _cast_to_zero(before[at : at + _PART], source, after[at : at + _PART], target)
        for at in range(0, after.size, _PART)
    )


def _cast_to_zero(before: Bits, source: FloatFormat, after: Bits, target: FloatFormat) -> int:
    left = _nonzero(after, target)
    # Weights without a zero are the usual ones, and half of the work is done for them.
    return 0 if left == after.size else _nonzero(before, source) - left


def _nonzero(patterns: Bits, fmt: FloatFormat) -> int:
    return int(np.count_nonzero(patterns & fmt.word.type(fmt.magnitude)))
