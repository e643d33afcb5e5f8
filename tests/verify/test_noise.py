"""The noise floor's upper bound is the 95 % one: it grows with how much the prompts differ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from weightsmith.verify.judge import gates, verdicts
from weightsmith.verify.measure.metrics import Comparison
from weightsmith.verify.measure.noise import NoiseFloor, Worst, noise_floor, worst

if TYPE_CHECKING:
    from weightsmith.verify.measure.parity import Pair

ONE = np.ones(1)


def _of_divergence(kl: float) -> Comparison:
    """One position with this KL; the noise floor asks for nothing else but the error of the chosen token."""
    places = np.zeros(1, np.int64)
    return Comparison(kl * ONE, ONE, ONE, ONE, ONE, places, places, ONE, ONE, ONE, ONE, ONE)


def test_the_upper_bound_is_exceeded_by_one_resample_in_twenty() -> None:
    reference = {n: _of_divergence(1.0) for n in range(20)}
    found = noise_floor(reference, {n: _of_divergence(n + 1.0) for n in range(20)})
    assert found.kl_ratio == pytest.approx(10.5)
    # The mean of 20 draws from 1, 2, …, 20 has a standard error of 5.77 / √20; 95 % lie below 1.645 of them.
    assert found.kl_ratio_upper == pytest.approx(10.5 + 1.645 * 5.77 / 20**0.5, rel=0.03)


def test_prompts_that_all_say_the_same_leave_no_doubt() -> None:
    found = noise_floor(
        {n: _of_divergence(1.0) for n in range(8)}, {n: _of_divergence(3.0) for n in range(8)}
    )
    assert found.kl_ratio == found.kl_ratio_upper == pytest.approx(3.0)


def test_one_prompt_alone_does_not_stand_for_all() -> None:
    """Nearly all noise lies in one prompt, where the device happened to round twice as far: the bound is that ratio."""
    reference = {n: _of_divergence(0.002 if n == 7 else 1e-6) for n in range(12)}
    device = {n: _of_divergence(0.0046 if n == 7 else 1e-6) for n in range(12)}
    found = noise_floor(reference, device)
    assert found.kl_ratio_upper > 2 and found.kl_ratio_rest == pytest.approx(1.0)
    assert found.kl_ratio_loudest == pytest.approx(2.3)
    assert _noise(found) == "pass"
    # Ten times as far is no rounding, and neither are two prompts.
    assert _noise(noise_floor(reference, {**device, 7: _of_divergence(0.02)})) == "fail"
    assert _noise(noise_floor(reference, {**device, 3: _of_divergence(3e-5)})) == "fail"
    # One prompt in all has no others.
    assert _noise(noise_floor({7: reference[7]}, {7: device[7]})) == "fail"


def _noise(found: NoiseFloor) -> str:
    kl = SimpleNamespace(overall=SimpleNamespace(kl_mean=0.001))
    return verdicts.noise_check(found, cast("Pair", kl), gates.limits()).verdict


def test_what_goes_wrong_at_one_prompt_is_measured_there() -> None:
    """One prompt of forty, off by ten times bf16's noise: the bound over all of them sees next to nothing of it."""
    reference = {n: _of_divergence(0.001) for n in range(40)}
    device = {n: _of_divergence(0.01 if n == 38 else 0.001) for n in range(40)}
    assert noise_floor(reference, device).kl_ratio_upper < 2
    found = worst(reference, device, range(33, 40))
    assert found == Worst(38, 0.01, 0.001) and found.ratio == pytest.approx(10.0)
    assert verdicts.arranged_check(found, gates.limits()).verdict == "fail"
    assert worst(reference, device, ()) is None and worst({}, device, [38]) is None


def test_a_prompt_that_bf16_happens_to_hit_is_held_to_the_usual_noise() -> None:
    reference = {0: _of_divergence(1e-9), **{n: _of_divergence(0.002) for n in range(1, 20)}}
    device = {n: _of_divergence(0.002) for n in range(20)}
    found = worst(reference, device, [0])
    assert found is not None and found.ratio == pytest.approx(20 / 19)
    assert verdicts.arranged_check(found, gates.limits()).verdict == "pass"
    # And rounding is not compared with rounding.
    assert verdicts.arranged_check(Worst(0, 9e-5, 1e-9), gates.limits()).verdict == "pass"
    assert verdicts.arranged_check(Worst(0, float("nan"), 1e-3), gates.limits()).verdict == "fail"
