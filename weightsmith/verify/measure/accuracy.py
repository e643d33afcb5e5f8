"""Whether a task was answered worse than before, or only otherwise: pure functions of the items' scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, fmean, pvariance
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.verify.checks import Verdict

# How often a sound model may fail by chance, and how often a drop of the size that is told must be seen.
FALSE_ALARMS = 0.025
_POWER = 0.8
_Z = NormalDist().inv_cdf(1 - FALSE_ALARMS)
_Z_POWER = NormalDist().inv_cdf(_POWER)
# Accuracies are quotients of integers: what is below this is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A task's accuracy against a baseline's. Accuracies and differences are shares, 0.02 for 2 pp.

    items: how many. noise: the largest drop that chance explains. tolerance: the largest drop that nobody minds, None
    where the user names none.
    detectable: the true drop that four runs in five would see.
    lost, gained: items that only the baseline, and only this run, has right; None where the items are not known.
    enough: items at which chance explains no more than the tolerance; None without one.
    blind: whether even a score of 0 would not fail.
    """

    items: int
    accuracy: float
    baseline: float
    noise: float
    detectable: float
    tolerance: float | None = None
    lost: int | None = None
    gained: int | None = None
    enough: int | None = None
    blind: bool = False

    @property
    def drop(self) -> float:
        """How much lower than the baseline; negative where it is higher."""
        return self.baseline - self.accuracy

    @property
    def decided_by(self) -> Literal["chance", "tolerance"]:
        """The larger of the two: a drop must pass both to be one that is real and that matters."""
        return "tolerance" if (self.tolerance or 0.0) > self.noise else "chance"

    @property
    def threshold(self) -> float:
        """The accuracy below which the task fails."""
        return self.baseline - max(self.noise, self.tolerance or 0.0)

    @property
    def verdict(self) -> Verdict:
        """Fail: a drop that neither chance nor the tolerance explains.

        Inconclusive: a drop that is too large for the tolerance and too small for this number of items; or items so
        few that even a score of 0 would pass.
        """
        if self.drop > max(self.noise, self.tolerance or 0.0) + _ROUNDING:
            return "fail"
        if self.blind:
            return "inconclusive"
        unsure = self.tolerance is not None and self.drop > self.tolerance + _ROUNDING
        return "inconclusive" if unsure else "pass"


def unpaired(
    scores: Sequence[float], baseline: float, tolerance: float | None = None, items: int | None = None
) -> Accuracy:
    """Against a number alone, of so many other items; None takes it to be measured on as many as here.

    scores: of each item, in [0, 1]. baseline: in [0, 1].
    The variance of right or wrong is that of both runs together, with one right and one wrong item added, so that a
    perfect baseline is not taken to be free of chance. From the baseline alone it is too small just where the baseline
    came out too high by chance: 3.8 % of sound runs failed so in place of 2.5 %. Of other scores it is their own.
    """
    count, others = len(scores), items or len(scores)
    own = None if _binary(scores) else pvariance(scores)

    def error(accuracy: float) -> float:
        share = (accuracy * count + baseline * others + 1) / (count + others + 2)
        return math.sqrt((share * (1 - share) if own is None else own) * (1 / count + 1 / others))

    accuracy = fmean(scores)
    noise = _Z * error(accuracy)
    known = items is None and tolerance is not None and tolerance > _ROUNDING
    return Accuracy(
        items=count,
        accuracy=accuracy,
        baseline=baseline,
        noise=noise,
        detectable=max(noise, tolerance or 0.0) + _Z_POWER * error(accuracy),
        tolerance=tolerance,
        enough=math.ceil(count * (noise / cast("float", tolerance)) ** 2) if known else None,
        blind=baseline <= max(_Z * error(0.0), tolerance or 0.0),
    )


def paired(scores: Sequence[float], before: Sequence[float], tolerance: float | None = None) -> Accuracy:
    """Against the baseline's scores of the same items, in the same order.

    Of right or wrong: McNemar's exact test on the items that only one of both has right. Of other scores: the mean of
    the differences against its standard error.
    """
    count = len(scores)
    lost = sum(then > now for now, then in zip(scores, before, strict=True))
    gained = sum(now > then for now, then in zip(scores, before, strict=True))
    if _binary(scores) and _binary(before):
        noise = (lost_by_chance(gained, count) - gained) / count
        error = math.sqrt(max(lost + gained, 1)) / count
    else:
        apart = [then - now for now, then in zip(scores, before, strict=True)]
        error = math.sqrt(pvariance(apart) / count)
        noise = _Z * error
    limit = max(noise, tolerance or 0.0)
    return Accuracy(
        items=count,
        accuracy=fmean(scores),
        baseline=fmean(before),
        noise=noise,
        detectable=limit + _Z_POWER * error,
        tolerance=tolerance,
        lost=lost,
        gained=gained,
        blind=fmean(before) <= limit,
    )


def lost_by_chance(gained: int, most: int) -> int:
    """How many items may be lost while others are gained, at the most, before chance alone does not explain it.

    most: items there are. One-sided: P(X >= lost) > FALSE_ALARMS for X ~ Binomial(lost + gained, 1/2).
    """
    # `low` is explained; `high` is not, or is more than there are.
    low, high = gained, max(most, gained) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if tail(middle, middle + gained) > FALSE_ALARMS:
            low = middle
        else:
            high = middle
    return low


def tail(successes: int, trials: int) -> float:
    """P(X >= successes) for X ~ Binomial(trials, 1/2)."""
    whole = math.lgamma(trials + 1) - trials * math.log(2)
    return min(
        1.0,
        math.fsum(
            math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1))
            for k in range(max(successes, 0), trials + 1)
        ),
    )


def same_items(
    now: Mapping[str, float], before: Mapping[str, float]
) -> tuple[list[float], list[float]] | None:
    """The scores of both by item, in one order; None where they are not of the same items."""
    if now.keys() != before.keys():
        return None
    return list(now.values()), [before[item] for item in now]


def _binary(scores: Sequence[float]) -> bool:
    return all(score in {0.0, 1.0} for score in scores)
