"""How wide heads are: told by steps and by rotary pairs, never by chance, and never a copy's double.

A statistic says nothing now and then where it should: the draws are the same in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.values.unseen.head_width import head_width
from weightsmith.values.unseen.rotary import layout, rotary_width

if TYPE_CHECKING:
    from weightsmith.checkpoint.arrays import Array

WIDTHS = st.sampled_from([16, 32, 48, 64, 128])


def divisors(number: int) -> list[int]:
    return [w for w in range(2, number + 1) if number % w == 0]


def steps(draw: np.random.Generator, heads: int, width: int, rise: float = 0.3) -> Array:
    """A profile whose heads differ by `rise`, with the noise that norms over 256 numbers have."""
    return np.repeat(rise * draw.standard_normal(heads), width) + 0.05 * draw.standard_normal(heads * width)


def turned(draw: np.random.Generator, heads: int, width: int, noise: float = 0.1) -> Array:
    """A profile in which fast pairs are small and slow ones large, in halves."""
    slow = np.linspace(-0.4, 0.4, width // 2)
    return np.tile(slow, 2 * heads) + noise * draw.standard_normal(heads * width)


@given(st.integers(0, 10**6), WIDTHS, st.integers(4, 12))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_heads_of_different_sizes_tell_their_width(seed: int, width: int, heads: int) -> None:
    draw = np.random.default_rng(seed)
    found = head_width([steps(draw, heads, width) for _ in range(4)], divisors(heads * width))
    assert found is not None
    assert found.width == width
    assert found.margin > 8


@given(st.integers(0, 10**6), WIDTHS, st.integers(2, 12), st.integers(1, 8))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_rows_of_the_same_size_tell_nothing(seed: int, width: int, heads: int, layers: int) -> None:
    draw = np.random.default_rng(seed)
    profiles = [0.05 * draw.standard_normal(heads * width) for _ in range(layers)]
    found = head_width(profiles, divisors(heads * width))
    assert found is None or found.width is None


def test_heads_that_were_copied_side_by_side_are_not_told_as_one_of_twice_the_width() -> None:
    """A model with 4 key heads of 32 that was written with 8: pairs of neighbours have the same rows."""
    draw = np.random.default_rng(0)
    single = [steps(draw, 4, 32).reshape(4, 32) for _ in range(4)]
    copied = [np.concatenate([one, one], axis=1).ravel() for one in single]
    found = head_width(copied, divisors(256))
    assert found is not None
    assert found.best.width == 64
    assert found.width is None


def test_the_grouping_of_heads_is_not_taken_for_a_head() -> None:
    """Query heads of a group are alike, but not the same."""
    draw = np.random.default_rng(0)
    groups = [np.repeat(0.4 * draw.standard_normal(3), 3 * 64) for _ in range(6)]
    found = head_width([group + steps(draw, 9, 64, 0.2) for group in groups], divisors(576))
    assert found is not None
    assert found.width == 64


def test_one_candidate_is_no_question() -> None:
    assert head_width([np.random.default_rng(0).standard_normal(64)], [64]) is None
    assert head_width([np.zeros(64)], [16, 32, 64]) is None
    assert head_width([], [16, 32]) is None


@given(st.integers(0, 10**6), WIDTHS, st.integers(2, 12))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_rotary_pairs_tell_the_width_and_their_layout(seed: int, width: int, heads: int) -> None:
    draw = np.random.default_rng(seed)
    keys = [turned(draw, heads, width) for _ in range(6)]
    found = rotary_width(keys, divisors(heads * width))
    assert found is not None
    assert found.width == width
    assert layout(keys, width)[0] == "half"
    interleaved = [key.reshape(-1, 2, width // 2).transpose(0, 2, 1).ravel() for key in keys]
    assert layout(interleaved, width)[0] == "interleaved"


@given(st.integers(0, 10**6), WIDTHS, st.integers(1, 12), st.integers(1, 8))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_keys_of_chance_have_no_pairs(seed: int, width: int, heads: int, layers: int) -> None:
    draw = np.random.default_rng(seed)
    keys = [0.1 * draw.standard_normal(heads * width) for _ in range(layers)]
    found = rotary_width(keys, divisors(heads * width))
    assert found is None or found.width is None
    assert layout(keys, width)[0] is None


@pytest.mark.parametrize("width", [6, 4])
def test_heads_too_narrow_to_judge_are_not_judged(width: int) -> None:
    draw = np.random.default_rng(0)
    found = head_width([steps(draw, 12, width, 2.0) for _ in range(4)], divisors(12 * width))
    assert found is None or found.width is None
    assert layout([turned(draw, 8, width)], width)[0] is None
