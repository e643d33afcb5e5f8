"""Exact means of absolute values: integer-exact sums, then one quotient rounded to odd."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from weightsmith.checkpoint.arrays import Bits, Doubles  # noqa: TC001 - a dataclass below is read at run time
from weightsmith.checkpoint.float_formats import BF16, FloatFormat, array_type

# A quotient keeps at least 62 - 26 - 9 = 27 bits for groups of up to 2**26 channels, and correct rounding to
# float32 needs 24 + 2 (Boldo & Melquiond 2008).
LARGEST_GROUP = 1 << 26


@dataclass(frozen=True, slots=True)
class Scratch:
    """Buffers that are used again for every block: fresh ones of this size cost a page fault per 4 KiB."""

    doubles: Doubles
    words: Bits

    @staticmethod
    def for_blocks(elements: int, fmt: FloatFormat) -> Scratch:
        return Scratch(np.empty(elements), np.empty(elements, fmt.word))


def means_rounded_to_odd(magnitudes: Bits, fmt: FloatFormat, scratch: Scratch, largest: int) -> Doubles:
    """The mean of each row of `magnitudes` [groups, g] as float64, rounded to odd.

    magnitudes: patterns of finite numbers without their sign, none above `largest`. Rounded to odd means:
    exact numbers stay, all others become the neighbour whose last bit is odd, so that one more rounding (to
    bf16, f16 or f32) and every comparison with a number of such a format come out as for the exact mean.

    A float64 sum of g numbers is exact, in any order, while every partial sum is an integer below 2**53 in
    units of the smallest last bit. With exponent fields E (largest) and e (smallest non-zero) and p bits of
    significand that is ceil(log2 g) + (E - e) + p <= 53. Groups for which it does not hold are summed in
    integers.
    """
    groups, size = magnitudes.shape
    room = 53 - fmt.precision - (size - 1).bit_length()
    sums = np.empty(groups)
    suspects: list[int] = []
    step = max(1, scratch.doubles.size // size)
    for start in range(0, groups, step):
        block = magnitudes[start : start + step]
        _sum(block, fmt, scratch.doubles, sums[start : start + step])
        if _spread(block, fmt, scratch.words, largest) > room:
            suspects += [start + group for group in _spread_out_groups(block, fmt, room)]
    means = _divide_to_odd(sums, size)
    for group in suspects:
        means[group] = _mean_in_integers(magnitudes[group], fmt)
    return means


def _sum(magnitudes: Bits, fmt: FloatFormat, scratch: Doubles, out: Doubles) -> None:
    """Sums of the rows in float64, exact under the condition above."""
    doubles = scratch[: magnitudes.size].reshape(magnitudes.shape)
    if fmt is not BF16:
        np.copyto(doubles, magnitudes.view(array_type(fmt)))
        np.einsum("ij->i", doubles, out=out)
        return
    # A bf16 pattern shifted left by 45 is the float64 pattern of the same number times 2**(127 - 1023),
    # subnormal numbers included: half the time of going through float32 (0.33 against 0.6 ns an element,
    # measured).
    words = doubles.view(np.uint64)
    np.copyto(words, magnitudes)
    np.left_shift(words, np.uint64(45), out=words)
    np.einsum("ij->i", doubles, out=out)
    out *= 2.0**896


def _divide_to_odd(sums: Doubles, size: int) -> Doubles:
    """sums / size, rounded to odd: the exact quotient of integers, with the remainder kept in the last bit."""
    fractions, exponents = np.frexp(sums)
    numerators = np.ldexp(fractions, 62).astype(np.int64)
    quotients, remainders = np.divmod(numerators, np.int64(size))
    # Nine bits more go, because 62 bits do not fit a float64; what they held is remembered as well.
    sticky = (quotients & np.int64(511)) | remainders
    quotients >>= np.int64(9)
    quotients |= sticky != 0
    result: Doubles = np.ldexp(quotients.astype(np.float64), exponents - 53)
    return result


def _spread(magnitudes: Bits, fmt: FloatFormat, scratch: Bits, largest: int) -> int:
    """Exponent field of `largest` minus the smallest one of the non-zero magnitudes."""
    # Zero minus one wraps to the largest word, so the minimum skips it; of zeros alone it gives the exponent
    # of zero.
    below = scratch[: magnitudes.size].reshape(magnitudes.shape)
    np.subtract(magnitudes, magnitudes.dtype.type(1), out=below)
    smallest = int(below.min()) + 1 & fmt.magnitude
    return fmt.exponent(largest) - fmt.exponent(smallest)


def _spread_out_groups(magnitudes: Bits, fmt: FloatFormat, room: int) -> list[int]:
    shift = magnitudes.dtype.type(fmt.precision - 1)
    one = magnitudes.dtype.type(1)
    largest = np.maximum((magnitudes.max(axis=1) >> shift), one)
    smallest = np.maximum(((magnitudes - one).min(axis=1) + one) >> shift, one)
    spread = largest.astype(np.int64) - smallest.astype(np.int64)
    return [int(group) for group in np.flatnonzero(spread > room)]


def _mean_in_integers(magnitudes: Bits, fmt: FloatFormat) -> float:
    """The mean of one group rounded to odd, by unbounded integers: rare, so plain is better than fast."""
    hidden = 1 << (fmt.precision - 1)
    total = 0
    for bits in magnitudes.tolist():
        field = fmt.exponent(bits)
        significand = bits & (hidden - 1) | (hidden if bits >= hidden else 0)
        total += significand << (field - 1)
    size = len(magnitudes)
    # Scaled so that the quotient has 53 or 54 bits; one of 54 loses its last to the sticky bit as well.
    shift = 53 - (total.bit_length() - size.bit_length())
    numerator, denominator = (total << shift, size) if shift >= 0 else (total, size << -shift)
    quotient, remainder = divmod(numerator, denominator)
    if quotient.bit_length() > 53:
        remainder |= quotient & 1
        quotient, shift = quotient >> 1, shift - 1
    return math.ldexp(quotient | (remainder != 0), 1 - fmt.bias - fmt.precision + 1 - shift)
