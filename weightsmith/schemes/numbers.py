"""What stored numbers are: every small format by its own table."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.data import numpy_dtype
from weightsmith.checkpoint.float_formats import FORMATS, array_type

if TYPE_CHECKING:
    from weightsmith.checkpoint.arrays import Bits, Singles

# OCP Microscaling Formats 1.0, section 5.3.3: sign, two bits of exponent, one of mantissa.
_E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], np.float32)
FP4 = np.concatenate([_E2M1, -_E2M1])


def values_of(patterns: Bits, dtype: str) -> Singles:
    """Unsigned patterns of integers, 8-bit floats, bf16, f16 or f32 as float32: exact for those of up to 24 bits."""
    if dtype[0] in "IU":
        return patterns.view(numpy_dtype(dtype)).astype(np.float32)
    if patterns.dtype.itemsize == 1:
        looked_up: Singles = np.take(_table(dtype), patterns)
        return looked_up
    singles: Singles = patterns.view(array_type(FORMATS[dtype])).astype(np.float32)
    return singles


@cache
def _table(dtype: str) -> Singles:
    """The values of all 256 patterns of an 8-bit float (E8M0: 2**(e - 127), 255 is NaN)."""
    every = np.arange(256, dtype=np.uint8).view(numpy_dtype(dtype))
    singles: Singles = every.astype(np.float32)
    return singles
