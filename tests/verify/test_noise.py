"""The noise floor's upper bound is the 95 % one: it grows with how much the prompts differ."""

from __future__ import annotations

import numpy as np
import pytest

from weightsmith.verify.judge import gates, verdicts
from weightsmith.verify.measure.metrics import Comparison
from weightsmith.verify.measure.noise import Worst, noise_floor, worst

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
