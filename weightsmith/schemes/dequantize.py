"""The arithmetic of dequantization: codes times scales, in the precision of the reference libraries."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.data import numpy_dtype
from weightsmith.checkpoint.float_formats import F32, FORMATS, array_type, cast

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weightsmith.checkpoint.arrays import Array, Bits, Singles
    from weightsmith.checkpoint.float_formats import FloatFormat

# OCP Microscaling Formats 1.0, section 5.3.3: sign, two bits of exponent, one of mantissa.
_E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], np.float32)
FP4 = np.concatenate([_E2M1, -_E2M1])

# What a weight and a scale may be stored as.
CODES = ("I8", "F8_E4M3", "F8_E5M2")
# The smallest magnitude of the floats that is not zero: 2**-9 and 2**-16.
LEAST_CODES = {"F8_E4M3": 2.0**-9, "F8_E5M2": 2.0**-16}
SCALES = ("BF16", "F16", "F32", "F8_E8M0")


class NotFiniteProductError(ValueError):
    """A weight would come out as NaN or infinity."""


def values_of(patterns: Bits, dtype: str) -> Singles:
    """Unsigned patterns of a dtype of CODES or SCALES as float32: exact for each of them."""
    if dtype == "I8":
        return patterns.view(np.int8).astype(np.float32)
    if patterns.dtype.itemsize == 1:
        looked_up: Singles = _table(dtype)[patterns]
        return looked_up
    singles: Singles = patterns.view(array_type(FORMATS[dtype])).astype(np.float32)
    return singles


@cache
def _table(dtype: str) -> Singles:
    """The values of all 256 patterns of an 8-bit float (E8M0: 2**(e - 127), 255 is NaN)."""
    every = np.arange(256, dtype=np.uint8).view(numpy_dtype(dtype))
    singles: Singles = every.astype(np.float32)
    return singles


def multiply(codes: Singles, scales: Singles, width: int, scale_dtype: str, target: str) -> Array:
    """codes [rows, cols] * scales [rows, S], each scale for `width` consecutive channels, in dtype `target`.

    The product is rounded to the scales' dtype and that to `target`, as compressed-tensors does it
    (quantization/lifecycle, `_dequantize`); an 8-bit scale counts as float32, as in transformers'
    Fp8Dequantize. A code of at most 8 significant bits times a bf16 or f16 scale is exact in float32, so
    each rounding is the only one. Raises NotFiniteProductError. `codes` is used up.
    """
    rows, cols = codes.shape
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if scales.shape[1] * width == cols:
            grouped = codes.reshape(rows, scales.shape[1], width)
            grouped *= scales[:, :, None]
        else:
            codes *= np.repeat(scales, width, axis=1)[:, :cols]
    own = FORMATS.get(scale_dtype, F32)
    product, _ = cast(codes, F32, own)
    result, _ = cast(product, own, FORMATS[target])
    if not _finite(result, FORMATS[target]):
        raise NotFiniteProductError(f"some weights would be NaN or infinite in {target}")
    return result


def microscaled(nibbles: NDArray[np.uint8], exponents: NDArray[np.uint8], target: str) -> Array:
    """MXFP4 [rows, groups, 16] bytes, low nibble first, times 2**(e - 127) [rows, groups], in dtype `target`.

    Returns [rows, groups * 32]. Raises NotFiniteProductError, for the exponent 255 (NaN) as well.
    """
    rows, groups, width = nibbles.shape
    values = np.empty((rows, groups, width * 2), np.float32)
    values[:, :, 0::2] = FP4[nibbles & np.uint8(15)]
    values[:, :, 1::2] = FP4[nibbles >> np.uint8(4)]
    scales = values_of(exponents, "F8_E8M0")
    return multiply(values.reshape(rows, -1), scales, width * 2, "F8_E8M0", target)


def _finite(array: Array, fmt: FloatFormat) -> bool:
    patterns = array.view(fmt.word)
    return not patterns.size or int((patterns & fmt.word.type(fmt.magnitude)).max()) < fmt.infinity


__all__ = [
    "CODES",
    "FP4",
    "LEAST_CODES",
    "SCALES",
    "NotFiniteProductError",
    "microscaled",
    "multiply",
    "values_of",
]
