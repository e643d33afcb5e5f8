"""How wide an attention head is, from the sizes of the rows and columns that belong to it.

Training makes whole heads large or small. The logarithm of the norm of a row of `v_proj`, or of a column of `o_proj`,
is therefore its head's mean and a little noise: a step function whose steps are as long as a head is wide. No rotation
of positions touches these two: this holds for models with and without rotary embeddings. Measured on SmolLM2-135M
(heads of 64): blocks of 64 columns explain 0.62 of the variance of `o_proj`, blocks of 96 0.32, blocks of 192 0.13; on
all-MiniLM-L6-v2 (heads of 32, no rotary embedding): 0.86 at 32, 0.52 at 48, 0.48 at 64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.checkpoint.arrays import Array

# By these a width is told (docs/unseen.md says how they were set): the share of variance, and the nats over all rows by
# which it must beat every other width and no heads at all.
LEAST_SHARE = 0.05
LEAST_NATS = 8.0
# Of published models no head is narrower; so few rows have no mean to speak of.
NARROWEST = 8
# Two neighbouring heads with the same profile are one head's copy, and look like one head of twice the width. Blocks of
# fewer rows are alike by chance.
MOST_REPEATED, _LEAST_REPEATED = 0.5, 16


@dataclass(frozen=True, slots=True)
class WidthScore:
    """One width.

    share: of the variance of log norms, how much the blocks explain, adjusted for their number (mean over profiles).
    cost: Schwarz's criterion (BIC) in nats over all rows of all profiles; smaller is better.
    """

    width: int
    share: float
    cost: float


@dataclass(frozen=True, slots=True)
class HeadWidth:
    """width: None where it is not told. best: the likeliest, told or not. scores: of all candidates, narrowest first.

    margin: nats by which the best is better than the second best, over all rows. gain: the same against no heads.
    """

    width: int | None
    best: WidthScore
    margin: float
    gain: float
    scores: tuple[WidthScore, ...]


def head_width(profiles: Sequence[Array], widths: Iterable[int]) -> HeadWidth | None:
    """The width of heads, from log norms.

    profiles: each [rows], of the rows of one `v_proj` or the columns of one `o_proj`. widths: the candidates; those
    that do not divide every profile are passed over. None where fewer than two are left, or nothing varies.
    """
    usable = [profile.astype(np.float64) for profile in profiles if profile.size and np.ptp(profile) > 0]
    chosen = sorted({w for w in widths if w > 1 and usable and all(p.size % w == 0 for p in usable)})
    if len(chosen) < 2:
        return None
    scores = tuple(
        WidthScore(
            width,
            float(np.mean([_share(profile, width) for profile in usable])),
            sum(_cost(profile, width) for profile in usable),
        )
        for width in chosen
    )
    best, second = sorted(scores, key=lambda score: score.cost)[:2]
    gain = sum(_cost(profile, profile.size) for profile in usable) - best.cost
    margin = second.cost - best.cost
    told = best.width >= NARROWEST and best.share >= LEAST_SHARE and min(gain, margin) >= LEAST_NATS
    told = told and not _repeats(usable, best.width, chosen)
    return HeadWidth(best.width if told else None, best, margin, gain, scores)


def _within(profile: Array, width: int) -> Array:
    """What is left of a profile when the mean of each block is taken away: [blocks, width]."""
    blocks = profile.reshape(-1, width)
    left: Array = blocks - blocks.mean(axis=1, keepdims=True)
    return left


def _share(profile: Array, width: int) -> float:
    """1 - (residual variance / variance), both unbiased; 0 for one block."""
    blocks = profile.size // width
    left = float((_within(profile, width) ** 2).sum()) / max(1, profile.size - blocks)
    return 1.0 - left / float(profile.var(ddof=1))


def _cost(profile: Array, width: int) -> float:
    """Schwarz's criterion for a mean of each block and one variance: (n ln(residual / n) + blocks ln n) / 2."""
    n, blocks = profile.size, profile.size // width
    residual = float((_within(profile, width) ** 2).mean())
    return (n * float(np.log(max(residual, 1e-12))) + blocks * float(np.log(n))) / 2


def _repeats(profiles: Sequence[Array], width: int, widths: Iterable[int]) -> bool:
    """Whether blocks are copies of a narrower block laid side by side, as where key and value heads were multiplied."""
    for narrower in (w for w in widths if _LEAST_REPEATED <= w < width and width % w == 0):
        pairs = [
            (p.reshape(-1, width)[:, :narrower], p.reshape(-1, width)[:, narrower : 2 * narrower])
            for p in profiles
        ]
        likeness = [_likeness(one, other) for one, other in pairs]
        if float(np.median(likeness)) > MOST_REPEATED:
            return True
    return False


def _likeness(one: Array, other: Array) -> float:
    """The correlation of two sets of rows, each less its own mean."""
    a, b = (rows - rows.mean(axis=1, keepdims=True) for rows in (one, other))
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0
