"""The noise floor's upper bound is the 95 % one: it grows with how much the prompts differ."""

from __future__ import annotations

import numpy as np
import pytest

from weightsmith.verify.measure.metrics import Comparison
from weightsmith.verify.measure.noise import noise_floor

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
