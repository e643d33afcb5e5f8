"""Whether two sets of neurons have an ancestor in common, by the norms of their weights; pure statistics.

Neurons of a layer can change places without changing the model, and initialization and training treat all places
alike. So the neurons of unrelated models have no order in common: the correlation of their norms, place by place, is
that of chance, and r * sqrt(n - 3) after Fisher's transform is a standard normal. Where neurons have changed places, or
the hidden space was rotated, each norm is still there: sorted, the two lists are the same, while two independent lists
of n norms differ by D with D * sqrt(n / 2) of Kolmogorov's distribution even where both are drawn alike. How unlikely
so small a D is gives a p-value that needs no pairing. Training further moves norms by more: it tells copies only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, exp, lgamma, log, log1p, pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.checkpoint.arrays import Array

_LN10 = log(10.0)
# Fewer neurons are no sample.
_FEWEST = 16


@dataclass(frozen=True, slots=True)
class Kinship:
    """Over all blocks. correlation: of the norms place by place, mean. paired, unpaired: log10 of the p-values."""

    correlation: float
    paired: float
    unpaired: float
    blocks: int


def kinship(blocks: Sequence[tuple[Array, Array]]) -> Kinship | None:
    """From the log norms of the neurons of a block in both models, [neurons] each and as many. None without any."""
    usable = [(a, b) for a, b in blocks if a.size == b.size >= _FEWEST and np.ptp(a) > 0 and np.ptp(b) > 0]
    if not usable:
        return None
    correlations = [float(np.clip(np.corrcoef(a, b)[0, 1], -1 + 1e-12, 1 - 1e-12)) for a, b in usable]
    scores = [np.arctanh(r) * sqrt(a.size - 3) for r, (a, _) in zip(correlations, usable, strict=True)]
    paired = log10_tail(float(np.sum(scores)) / sqrt(len(scores)))
    unpaired = fisher([log_kolmogorov(apart(a, b) * sqrt(a.size / 2)) for a, b in usable])
    return Kinship(float(np.mean(correlations)), paired, unpaired, len(usable))


def log10_tail(z: float) -> float:
    """log10 of the chance that a standard normal is above z. Beyond 25 by the asymptote exp(-z²/2) / (z sqrt(2π))."""
    if z < 25:
        return log(max(erfc(z / sqrt(2)) / 2, 1e-300)) / _LN10
    return (-z * z / 2 - log(z * sqrt(2 * pi))) / _LN10


def apart(a: Array, b: Array) -> float:
    """Kolmogorov's distance of two samples of the same size."""
    everything = np.sort(np.concatenate([a, b]))
    left = np.searchsorted(np.sort(a), everything, side="right")
    right = np.searchsorted(np.sort(b), everything, side="right")
    return float(np.abs(left - right).max()) / a.size


def log_kolmogorov(x: float) -> float:
    """The natural logarithm of the chance that Kolmogorov's variable is at most x.

    K(x) = sqrt(2π) / x * Σ exp(-(2k - 1)² π² / (8 x²)), k from 1: Kolmogorov 1933. Its first term is all of it below 1.
    """
    x = max(x, 1e-3)
    first = log(sqrt(2 * pi) / x) - pi**2 / (8 * x * x)
    rest = sum(exp(-((2 * k - 1) ** 2 - 1) * pi**2 / (8 * x * x)) for k in range(2, 30))
    return min(0.0, first + log1p(rest))


def fisher(logs: Sequence[float]) -> float:
    """log10 of the p-value of independent ones together, given as natural logarithms (Fisher 1932).

    With s = -Σ ln p of m of them: exp(-s) Σ s^k / k!, k below m, the tail of chi-square with 2 m degrees of freedom.
    """
    total, count = -sum(logs), len(logs)
    if total <= 0:
        return 0.0
    terms = [k * log(total) - lgamma(k + 1) for k in range(count)]
    top = max(terms)
    tail = -total + top + log(sum(exp(term - top) for term in terms))
    return min(0.0, tail / _LN10)
