"""How wide a rotary head is, and how its pairs are laid out, from the rows of `k_proj` and `q_proj`.

A rotary embedding turns pairs of rows of a head by angles that fall from pair to pair. Training makes fast pairs small
and slow ones large, in all heads alike, so that the logarithm of a row's norm depends on its pair. Where row i goes
with row i + width / 2 ("half", as transformers has Llama), the place within half a head explains the norms; where it
goes with row i ^ 1 ("interleaved", as GPT-J and Meta's own Llama files), that place explains nothing at the true width,
while neighbouring rows are alike. Measured on SmolLM2-135M, width 64: 0.41 of the variance of `k_proj`, at most 0.06 at
every smaller divisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.checkpoint.arrays import Array

# A width is told where the places within half a head explain so much, and so many times what any smaller width does.
LEAST_SHARE = 0.1
LEAST_RATIO = 2.5
# So many standard deviations above 0, where chance alone would leave the share, see `_deviation`.
LEAST_DEVIATIONS = 6.0
# Multiples of the true width explain nearly as much: the smallest that explains this part of the most is meant.
_NEARLY = 0.6
# Interleaved pairs: what the pairs explain at least. Of two halves either explains nearly what the other does, for a
# rotation turns row i and row i + width / 2 into each other; of interleaved pairs halves explain a slow ramp's fourth.
LEAST_PAIRED, MOST_HALVED, LEAST_HALVED = 0.2, 0.3, 0.6


@dataclass(frozen=True, slots=True)
class RotaryWidth:
    """width: None where it is not told. share: what the best explains, mean over the matrices; adjusted.

    margin: how many times what the best of the smaller widths explains (at least 0.01).
    """

    width: int | None
    best: int
    share: float
    margin: float


def rotary_width(profiles: Sequence[Array], widths: Iterable[int]) -> RotaryWidth | None:
    """From log norms of rows of `k_proj` (or `q_proj`), each [rows]. None where fewer than two widths can be compared.

    widths: candidates; those that divide every profile, and leave at least two rows for each place, are compared.
    """
    usable = [profile.astype(np.float64) for profile in profiles if profile.size and np.ptp(profile) > 0]
    chosen = sorted({w for w in widths if w % 2 == 0 and w > 2 and usable and _fits(w, usable)})
    if len(chosen) < 2:
        return None
    shares = {width: float(np.mean([halved(p, width) for p in usable])) for width in chosen}
    most = max(shares.values())
    best = next(width for width in chosen if shares[width] >= min(most, _NEARLY * most))
    below = max((shares[width] for width in chosen if width < best), default=0.0)
    margin = shares[best] / max(below, 0.01)
    beyond_chance = shares[best] >= LEAST_DEVIATIONS * _deviation(usable, best // 2)
    told = shares[best] >= LEAST_SHARE and margin >= LEAST_RATIO and beyond_chance
    return RotaryWidth(best if told else None, best, shares[best], margin)


def _fits(width: int, profiles: Sequence[Array]) -> bool:
    return all(p.size % width == 0 and p.size >= width for p in profiles)


def halved(profile: Array, width: int) -> float:
    """The share of variance that the place within half a head explains, adjusted for the number of places."""
    return explained(profile, np.arange(profile.size) % (width // 2))


def paired(profile: Array, width: int) -> float:
    """The share of variance that the number of the pair (2i, 2i + 1) within the head explains, adjusted."""
    return explained(profile, np.arange(profile.size) % width // 2)


def explained(values: Array, groups: Array) -> float:
    """Adjusted R²: 1 - (1 - between / total) * (n - 1) / (n - groups). values, groups: [n], groups from 0 on."""
    counts = np.bincount(groups)
    means = np.bincount(groups, values) / counts
    total = float(((values - values.mean()) ** 2).sum())
    between = float((counts * (means - values.mean()) ** 2).sum())
    return 1 - (1 - between / total) * (values.size - 1) / max(1, values.size - counts.size)


def _deviation(profiles: Sequence[Array], groups: int) -> float:
    """The standard deviation of the mean adjusted R² over profiles of chance.

    Of n normal values in k groups, R² has the distribution Beta((k - 1) / 2, (n - k) / 2), so that the adjusted one has
    the variance 2 (k - 1) / ((n - k) (n + 1)).
    """
    variances = [2 * (groups - 1) / (max(1, p.size - groups) * (p.size + 1)) for p in profiles]
    return float(np.sqrt(sum(variances))) / len(variances)


def layout(
    profiles: Sequence[Array], width: int
) -> tuple[Literal["half", "interleaved"] | None, float, float]:
    """How pairs are laid out in heads of a known width, None where it is not told; and what halves and pairs explain.

    profiles: log norms of rows of `k_proj`, or `q_proj`, each [rows].
    """
    usable = [p.astype(np.float64) for p in profiles if np.ptp(p) > 0 and _fits(width, [p])]
    if not usable or width < 8:
        return None, 0.0, 0.0
    halves = float(np.mean([halved(p, width) for p in usable]))
    pairs = float(np.mean([paired(p, width) for p in usable]))
    chance = LEAST_DEVIATIONS * _deviation(usable, width // 2)
    if halves >= max(LEAST_SHARE, chance, LEAST_HALVED * pairs):
        return "half", halves, pairs
    told = pairs >= max(LEAST_PAIRED, chance) and halves <= MOST_HALVED * pairs
    return ("interleaved" if told else None), halves, pairs
