"""Means of absolute bfloat16 values between two bounds: float32 sums, and how far their rounding can have led."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from weightsmith.checkpoint.arrays import Bits, Singles

# Channels that are added in float32 before float64 takes over: more of them widen the bounds.
_RUN = 128
# Below it the work per run outweighs what is saved.
_SHORTEST_RUN = 16

# Of float32: the result of one operation is off by at most this share of it.
_ROUNDING = 2.0**-24

# A bfloat16 pattern without its sign, in the upper half of a float32.
_UPPER = np.uint32(0x7FFF0000)


@dataclass(frozen=True, slots=True)
class Halves:
    """Buffers for one block: its channels with odd and with even number, as float32."""

    odd: Singles
    even: Singles

    @staticmethod
    def for_blocks(elements: int) -> Halves:
        return Halves(np.empty(elements // 2, np.float32), np.empty(elements // 2, np.float32))


def can_bracket(size: int) -> bool:
    """Whether groups of `size` channels fall into runs that are worth while."""
    return gcd(size, _RUN) >= _SHORTEST_RUN


def bracket_means(patterns: Bits, halves: Halves) -> tuple[Singles, Singles]:
    """(lower, upper) bounds of the mean of the absolute values of each row of bfloat16 `patterns` [groups, size].

    A float32 is a bfloat16 followed by sixteen more bits, so two neighbours in one 32-bit word become two
    float32 by a mask and by a shift. All terms are positive: n of them, added in whatever order with each
    result off by the share u = 2**-24, are off by at most (n - 1) u / (1 - (n - 1) u) of their sum (Higham,
    "Accuracy and Stability of Numerical Algorithms", 2002, eq. 4.4). A run of n channels is added by pairs
    first, so that n/2 additions follow each other; rounding the mean and the bound takes 3 u, and one more
    stands for the terms of second order. Bounds hold for means of normal float32; groups with NaN, infinity
    or too large a sum get bounds that are not finite.
    """
    groups, size = patterns.shape
    run = gcd(size, _RUN)
    sums = np.empty(patterns.size // run, np.float32)
    words = patterns.reshape(-1).view(np.uint32).reshape(-1, run // 2)
    step = halves.odd.size // (run // 2)
    off = np.float32((run // 2 + 4) * _ROUNDING)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, len(words), step):
            pairs = words[first : first + step]
            odd, even = (h[: pairs.size].reshape(pairs.shape) for h in (halves.odd, halves.even))
            np.bitwise_and(pairs, _UPPER, out=odd.view(np.uint32))
            np.left_shift(pairs, np.uint32(16), out=even.view(np.uint32))
            np.abs(even, out=even)
            np.add(odd, even, out=odd)
            np.einsum("ij->i", odd, out=sums[first : first + step])
        if run < size:
            sums = sums.reshape(groups, -1).sum(axis=1, dtype=np.float64).astype(np.float32)
        means = sums / np.float32(size)
        return means * (np.float32(1) - off), means * (np.float32(1) + off)
