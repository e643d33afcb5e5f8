"""The measures have the values that paper and pencil give, and the properties that their definitions promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.verify.handmade import log_softmax, noisy, random_logprobs
from weightsmith.verify.measure import metrics

# A quarter, three quarters; and a half, a half.
P = np.log(np.array([[0.25, 0.75]]))
Q = np.log(np.array([[0.5, 0.5]]))

_rows = arrays(np.float64, (3, 17), elements=st.floats(-30, 30)).map(log_softmax)


def test_kl_of_two_coins_is_what_paper_says() -> None:
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert metrics.kl(P, Q)[0] == pytest.approx(expected, rel=1e-12)
    assert metrics.kl(Q, P)[0] == pytest.approx(0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))


def test_kl_ignores_tokens_that_the_first_holds_impossible() -> None:
    with np.errstate(divide="ignore"):
        certain = np.log(np.array([[1.0, 0.0]]))
    assert metrics.kl(certain, Q)[0] == pytest.approx(math.log(2))


def test_kl_is_infinite_where_the_second_holds_possible_tokens_impossible() -> None:
    with np.errstate(divide="ignore"):
        certain = np.log(np.array([[1.0, 0.0]]))
    assert np.isposinf(metrics.kl(Q, certain)[0])


@given(_rows, _rows)
def test_kl_is_never_negative(p: metrics.Logprobs, q: metrics.Logprobs) -> None:
    assert (metrics.kl(p, q) >= 0).all()


@given(_rows)
def test_a_distribution_compared_with_itself_differs_in_nothing(p: metrics.Logprobs) -> None:
    found = metrics.compare(p, p, p.argmax(axis=1))
    assert (found.kl == 0).all()
    assert (found.delta == 0).all()
    assert (found.margin == 0).all()
    assert (found.top_p == found.top_q).all()
    assert (found.top5 == 1).all()
    assert found.pearson == pytest.approx(1.0)
    assert found.cosine == pytest.approx(1.0)


@given(_rows, st.floats(-100, 100), st.floats(0.1, 10))
def test_pearson_does_not_see_shift_and_scale(p: metrics.Logprobs, shift: float, scale: float) -> None:
    spread = p.std(axis=1) > 1e-3
    assert metrics.pearson(p, p * scale + shift)[spread] == pytest.approx(1.0, abs=1e-4)


def test_pearson_of_logprobs_is_that_of_the_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 30))
    other = logits + np.random.default_rng(1).normal(size=(4, 30))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(logits, other, strict=True)]
    assert metrics.pearson(log_softmax(logits), log_softmax(other)) == pytest.approx(expected, abs=1e-5)


def test_cosine_of_a_row_and_its_double_is_one_and_of_orthogonal_rows_zero() -> None:
    assert metrics.cosine(P, 2 * P)[0] == pytest.approx(1.0)
    assert metrics.cosine(np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]]))[0] == pytest.approx(0.0)


def test_constant_rows_correlate_with_each_other_and_with_nothing_else() -> None:
    flat = np.log(np.full((1, 4), 0.25))
    assert metrics.pearson(flat, flat)[0] == 1.0
    assert metrics.pearson(flat, np.log(np.array([[0.1, 0.2, 0.3, 0.4]])))[0] == 0.0


def test_overlap_counts_shared_favourites() -> None:
    p = np.array([[9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0]])
    q = np.array([[9.0, 8, 7, 0, 1, 6, 5, 4, 3, 2]])  # favourites 0 1 2 5 6 against 0 1 2 3 4
    assert metrics.overlap(p, q, 5)[0] == pytest.approx(3 / 5)
    assert metrics.overlap(p, q, 10)[0] == 1.0
    assert metrics.overlap(p, q, 50)[0] == 1.0


def test_margin_at_a_flip_is_how_much_the_reference_prefers_its_own() -> None:
    p, q = np.log(np.array([[0.6, 0.3, 0.1]])), np.log(np.array([[0.2, 0.7, 0.1]]))
    found = metrics.compare(p, q, np.array([1]))
    assert found.top_p[0] != found.top_q[0]
    assert found.margin[0] == pytest.approx(math.log(0.6 / 0.3))
    assert found.delta[0] == pytest.approx(math.log(0.7 / 0.3))
    assert found.delta_p[0] == pytest.approx(0.4)


def test_entropy_of_a_uniform_row_is_log_of_its_length_and_of_a_certain_one_zero() -> None:
    with np.errstate(divide="ignore"):
        rows = np.log(np.array([[0.125] * 8, [1.0] + [0.0] * 7]))
    assert metrics.entropy(rows) == pytest.approx([math.log(8), 0.0])


def test_log_mass_is_zero_only_where_probabilities_sum_to_one() -> None:
    assert metrics.log_mass(random_logprobs(0)) == pytest.approx(0.0, abs=1e-5)
    assert metrics.log_mass(random_logprobs(0) - 0.5) == pytest.approx(-0.5, abs=1e-5)


def test_perplexity_of_tokens_that_each_had_a_quarter_is_four() -> None:
    assert metrics.perplexity(np.log(np.full(7, 0.25))) == pytest.approx(4.0)


@settings(max_examples=50)
@given(_rows, _rows, st.integers(1, 10))
def test_bucketing_never_raises_a_divergence(p: metrics.Logprobs, q: metrics.Logprobs, k: int) -> None:
    ids = np.argsort(-q, axis=1)[:, :k]
    merged = metrics.kl(metrics.bucket(p, ids), metrics.bucket(q, ids))
    assert (merged <= metrics.kl(p, q) + 1e-5).all()


def test_the_bucket_holds_exactly_what_the_top_leaves() -> None:
    rows = np.log(np.array([[0.5, 0.3, 0.15, 0.05]]))
    found = metrics.bucket(rows, np.array([[0, 1]]))
    assert np.exp(found)[0] == pytest.approx([0.5, 0.3, 0.2])


def test_noise_of_a_tenth_of_a_nat_gives_a_divergence_of_half_its_variance() -> None:
    # Σ p·δ²/2 to second order in the logit error δ, less the variance that normalisation takes away.
    flat = log_softmax(np.zeros((200, 500)))
    assert metrics.kl(flat, noisy(flat, 0.1)).mean() == pytest.approx(0.1**2 / 2, rel=0.05)


def test_of_equals_the_first_is_the_favourite_as_argmax_has_it() -> None:
    tied = np.array([[-3.0, -1.0, -1.0, -5.0, -1.0, -9.0]])
    assert metrics.favourites(tied, 4).tolist() == [[1, 2, 4, 0]]
    assert metrics.favourites(tied, 4)[0, 0] == tied.argmax()


def test_a_near_tie_is_a_lead_within_the_limit_and_nan_is_none() -> None:
    assert metrics.is_near_tie(0.25, 0.25)
    assert not metrics.is_near_tie(0.26, 0.25)
    assert not metrics.is_near_tie(math.nan, 0.25)
