"""What the numbers were before, which half is the gate, and in which order layers and experts stand.

A statistic says nothing now and then where it should: the draws are the same in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.values.unseen.dtype_history import narrower_dtype, quantized_grid
from weightsmith.values.unseen.experts import compare_experts
from weightsmith.values.unseen.gate_up import gate_and_up
from weightsmith.values.unseen.layer_order import alike, best_exchange, copies
from weightsmith.values.unseen.norm_offset import less_one

if TYPE_CHECKING:
    from weightsmith.checkpoint.arrays import Array, Singles

SEEDS = st.integers(0, 10**6)


def bfloat16(values: Array) -> Singles:
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def weight(seed: int, columns: int = 512) -> Singles:
    return bfloat16(0.02 * np.random.default_rng(seed).standard_normal((64, columns)))


def rounded(values: Array, bits: int, group: int) -> Singles:
    """To whole numbers of so many bits, one scale for `group` elements of a row."""
    parts = values.reshape(len(values), -1, group)
    scale = np.abs(parts).max(axis=-1, keepdims=True) / (2 ** (bits - 1) - 1)
    return bfloat16((np.round(parts / scale) * scale).reshape(values.shape))


@given(SEEDS, st.sampled_from([32, 64, 128]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_four_bits_are_told_with_their_groups(seed: int, group: int) -> None:
    found = quantized_grid(rounded(weight(seed), 4, group))
    assert found is not None
    assert (found.kind, found.bits, found.group) == ("int", 4, group)


@given(SEEDS)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_eight_bits_with_a_scale_a_row_are_told(seed: int) -> None:
    found = quantized_grid(rounded(weight(seed), 8, 512))
    assert found is not None
    assert (found.kind, found.bits, found.group) == ("int", 8, 0)


@pytest.mark.parametrize(("dtype", "bits"), [("float8_e4m3fn", 3), ("float8_e5m2", 2)])
def test_fp8_is_told_by_its_mantissas(dtype: str, bits: int) -> None:
    values = weight(1)
    scale = np.float32(np.abs(values).max() / 448)
    found = quantized_grid(
        bfloat16((values / scale).astype(getattr(ml_dtypes, dtype)).astype(np.float32) * scale)
    )
    assert found is not None
    assert (found.kind, found.bits) == ("float", bits)


@given(SEEDS, st.sampled_from([64, 192, 512, 768]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_numbers_that_were_never_quantized_lie_on_no_grid(seed: int, columns: int) -> None:
    assert quantized_grid(weight(seed, columns)) is None
    assert (
        quantized_grid(np.random.default_rng(seed).standard_normal((64, columns)).astype(np.float32)) is None
    )


def test_a_matrix_of_one_number_lies_on_no_grid() -> None:
    assert quantized_grid(np.full((4, 64), 0.5, np.float32)) is None
    assert quantized_grid(np.zeros((0, 64), np.float32)) is None


def test_a_narrower_dtype_is_told() -> None:
    values = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)
    assert narrower_dtype(values, "F32") is None
    assert narrower_dtype(bfloat16(values), "F32") == "BF16"
    assert narrower_dtype(values.astype(np.float16).astype(np.float32), "F32") == "F16"
    assert narrower_dtype(bfloat16(values), "BF16") is None
    assert narrower_dtype(np.zeros((2, 2), np.float32), "F32") is None


def bound(draw: np.random.Generator) -> tuple[Array, Array, Array]:
    """Norms of up, gate and down of one block: up and down go together."""
    common = 0.1 * draw.standard_normal(512)
    return common + 0.03 * draw.standard_normal(512), 0.1 * draw.standard_normal(512), common


@given(SEEDS)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_what_goes_with_down_is_up(seed: int) -> None:
    blocks = [bound(np.random.default_rng(seed + i)) for i in range(4)]
    found = gate_and_up(blocks)
    assert found is not None
    assert found.order == "as-named"
    turned = gate_and_up([(gate, up, down) for up, gate, down in blocks])
    assert turned is not None
    assert turned.order == "exchanged"


@given(SEEDS)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_norms_that_all_go_together_or_not_at_all_tell_nothing(seed: int) -> None:
    draw = np.random.default_rng(seed)
    chance = gate_and_up([tuple(draw.standard_normal((3, 512))) for _ in range(4)])
    common = draw.standard_normal((4, 512))
    together = gate_and_up([tuple(one + 0.1 * draw.standard_normal((3, 512))) for one in common])
    assert chance is not None
    assert chance.order is None
    assert together is not None
    assert together.order is None


def drifting(seed: int, layers: int) -> Array:
    """Profiles that change slowly from layer to layer, [layers, places]."""
    draw = np.random.default_rng(seed)
    profile, found = draw.standard_normal(256), []
    for _ in range(layers):
        profile = 0.9 * profile + 0.44 * draw.standard_normal(256)
        found.append(profile)
    return np.stack(found)


@given(SEEDS, st.integers(6, 24))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_layers_in_their_order_are_not_called_exchanged(seed: int, layers: int) -> None:
    assert not best_exchange(alike([drifting(seed, layers)])).told


@given(SEEDS, st.integers(10, 24))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_two_layers_that_were_exchanged_are_named(seed: int, layers: int) -> None:
    order = list(range(layers))
    order[2], order[layers - 3] = order[layers - 3], order[2]
    found = best_exchange(alike([drifting(seed, layers)[order]]))
    assert found.told
    assert found.layers == (2, layers - 3)


def test_layers_of_chance_have_no_order() -> None:
    draw = np.random.default_rng(0)
    assert not any(best_exchange(alike([draw.standard_normal((12, 256))])).told for _ in range(20))


def test_a_layer_that_stands_twice_is_told_and_neighbours_are_not() -> None:
    rows = drifting(0, 8)
    assert copies(rows) == []
    rows[5] = rows[2] * 1.0001
    assert copies(rows) == [(2, 5)]


def test_experts_that_are_copies_or_far_smaller_are_told() -> None:
    experts = np.random.default_rng(0).standard_normal((8, 4096))
    assert compare_experts(experts).copies == ()
    assert compare_experts(experts).small == ()
    experts[3], experts[6] = experts[1], 0.1 * experts[6]
    found = compare_experts(experts)
    assert (found.copies, found.small) == (((1, 3),), (6,))


def test_gains_on_both_sides_of_zero_are_stored_less_one() -> None:
    draw = np.random.default_rng(0)
    assert less_one([0.1 * draw.standard_normal(64) for _ in range(5)])[0]
    assert not less_one([1 + 0.1 * draw.standard_normal(64) for _ in range(5)])[0]
    dead = np.where(draw.random(64) < 0.5, -0.001, 0.3)
    assert not less_one([dead, np.ones(64), np.ones(64)])[0]
