"""bf16's own error as the measure of the device's: how much further D is from R than B is, and whose the error is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.verify.measure import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from weightsmith.verify.measure.metrics import Comparison

# Resamples of the prompts for a 95 % bound: its own error is then about 2 % of the spread, and 2,000 means
# over 32 prompts take 5 ms.
_RESAMPLES = 2000
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How much further D is from R than B is. upper: 95 % bound of a bootstrap over prompts.

    rest, loudest: the bound without the prompt at which D is furthest from R, and the ratio there, as `Worst` has it.
    Where nearly all of the noise lies in one prompt, a bound over prompts is that one's ratio, whatever the others say.

    bf16_share, device_share: of D's squared error in the chosen tokens' log-probabilities, what bf16 costs on the CPU
    too, and what is left for the device; they sum to 1.
    """

    kl_ratio: float
    kl_ratio_upper: float
    rms_ratio: float
    bf16_share: float
    device_share: float
    kl_ratio_rest: float
    kl_ratio_loudest: float


@dataclass(frozen=True, slots=True)
class Worst:
    """The prompt that D is furthest from R at, by R–B's distance there or over all, whichever is larger: mean nats."""

    prompt: int
    moved: float
    noise: float

    @property
    def ratio(self) -> float:
        return self.moved / max(self.noise, _TINY)


def worst(
    reference: Mapping[int, Comparison], device: Mapping[int, Comparison], prompts: Iterable[int]
) -> Worst | None:
    """Of some prompts. What goes wrong at one place of one prompt drowns in a mean over all of them.

    By the mean over all as well, since bf16 may happen to hit a prompt's few tokens exactly.
    """
    usual = float(np.concatenate([one.kl for one in reference.values()]).mean()) if reference else 0.0
    found = [
        Worst(n, float(device[n].kl.mean()), max(usual, float(reference[n].kl.mean())))
        for n in prompts
        if n in device and n in reference
    ]
    return max(found, key=lambda one: one.ratio, default=None)


def upper_bound(floor: NDArray[np.float64], moved: NDArray[np.float64]) -> float:
    """95 % bound of a bootstrap on Σ moved / Σ floor, both [prompts]."""
    draws = np.random.default_rng(0).integers(len(floor), size=(_RESAMPLES, len(floor)))
    ratios = moved[draws].sum(axis=1) / np.maximum(floor[draws].sum(axis=1), _TINY)
    return float(np.quantile(ratios, 0.95))


def noise_floor(reference: Mapping[int, Comparison], device: Mapping[int, Comparison]) -> NoiseFloor:
    """KL(R‖D)/KL(R‖B) with a bootstrap over prompts, and the RMS ratio of Δ log p. By prompt: R–B, R–D.

    Over prompts, since one prompt's positions are not independent; their sums are resampled, so that long
    answers weigh what they weigh in the ratio itself.
    """
    prompts = sorted(reference)
    floor = np.array([reference[n].kl.sum() for n in prompts])
    moved = np.array([device[n].kl.sum() for n in prompts])
    by_bf16 = np.concatenate([reference[n].delta for n in prompts])
    by_both = np.concatenate([device[n].delta for n in prompts])
    own, whole = float(by_bf16 @ by_bf16), float(by_both @ by_both)
    loudest = int(np.argmax(moved))
    others = np.arange(len(prompts)) != loudest
    alone = worst(reference, device, [prompts[loudest]])
    # Not the part of D's error that runs along B's: rounding in another order is bf16's doing as well.
    share = own / whole if own < whole else 1.0
    return NoiseFloor(
        kl_ratio=float(moved.sum() / max(floor.sum(), _TINY)),
        kl_ratio_upper=upper_bound(floor, moved),
        rms_ratio=float(metrics.rms(by_both) / max(metrics.rms(by_bf16), _TINY)),
        bf16_share=share,
        device_share=1 - share,
        kl_ratio_rest=upper_bound(floor[others], moved[others])
        if others.any()
        else upper_bound(floor, moved),
        kl_ratio_loudest=alone.ratio if alone is not None else 0.0,
    )
