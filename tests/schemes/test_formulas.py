"""Every formula makes what its format's definition says, number by number, in whatever strips its rows are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schemes.storing import made, stored, weight_of
from weightsmith.schemes.formula import Fault
from weightsmith.schemes.modelslim import MODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.checkpoint.arrays import Array, Singles

SEEDS, STEPS = st.integers(0, 2**16), st.integers(1, 9)
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
EXAMPLES = settings(deadline=None, max_examples=40)


def dense(codes: Array, bits: int) -> Array:
    """Unsigned codes [R, C] as one little-endian stream of bits for each row, cut into 32-bit words."""
    rows = []
    for row in codes.tolist():
        stream = sum(int(code) << bits * place for place, code in enumerate(row))
        words = -(-len(row) * bits // 32)
        rows.append([stream >> 32 * word & 0xFFFFFFFF for word in range(words)])
    return np.array(rows, np.uint32).view(np.int32)


def loose(codes: Array, bits: int) -> Array:
    """32 // bits whole codes in a word."""
    each = 32 // bits
    rows = []
    for row in codes.tolist():
        cut = [row[at : at + each] for at in range(0, len(row), each)]
        rows.append([sum(int(code) << bits * place for place, code in enumerate(word)) for word in cut])
    return np.array(rows, np.uint32).view(np.int32)


def groups_of(values: Array, index: Sequence[int]) -> Singles:
    """[N, G] to [N, K] by the group of each channel."""
    spread: Singles = values[:, list(index)].astype(np.float32)
    return spread


@EXAMPLES
@given(SEEDS, STEPS, st.integers(2, 8), st.integers(1, 40), st.sampled_from((32, 64)), st.integers(1, 3), st.booleans(),
       st.booleans(), st.sampled_from(("none", "-1", "real")))  # fmt: skip
def test_compressed_tensors(
    seed: int, step: int, bits: int, rows: int, group: int, count: int, old: bool, zeros: bool, order: str
) -> None:
    random = np.random.default_rng(seed)
    columns, half = group * count, 1 << bits - 1
    pack = loose if old else dense
    codes = random.integers(-half, half, (rows, columns))
    scale = random.random((rows, count)).astype(np.float16)
    zero = random.integers(-half, half, (rows, count)) if zeros else np.zeros((rows, count), int)
    index = np.arange(columns) // group
    arrays = {
        "weight_packed": pack(codes + half, bits), "weight_scale": scale, "weight_shape": np.array([rows, columns]),
    }  # fmt: skip
    if zeros:
        arrays["weight_zero_point"] = np.ascontiguousarray(pack(zero.T + half, bits).T)
    if order != "none":
        index = random.permutation(index) if order == "real" else index
        arrays["weight_g_idx"] = (index if order == "real" else np.full(columns, -1)).astype(np.int32)
    section = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": bits}}}}
    module = stored(arrays, section)
    exact = (codes - zero[:, index]).astype(np.float32) * groups_of(scale, index)
    assert np.array_equal(made(module, arrays, step), exact)
    found = weight_of(module)
    assert (found.shape, found.bits, found.symmetric) == ((rows, columns), bits, not zeros)


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 20), st.integers(1, 4))
def test_compressed_tensors_in_8_bits_and_in_another_order(
    seed: int, step: int, rows: int, count: int
) -> None:
    """compressed-tensors, lifecycle/forward.py, dequantize with g_idx: column k has the scale of its group."""
    random = np.random.default_rng(seed)
    index = random.permutation(np.arange(32 * count) // 32)
    codes = random.integers(-128, 128, (rows, 32 * count)).astype(np.int8)
    scale = random.random((rows, count)).astype(np.float16)
    arrays = {"weight": codes, "weight_scale": scale, "weight_g_idx": index.astype(np.int32)}
    assert np.array_equal(made(stored(arrays), arrays, step), codes * groups_of(scale, index))


@EXAMPLES
@given(SEEDS, STEPS, st.integers(2, 8), st.integers(1, 3), st.sampled_from((32, 64)), st.integers(1, 3), st.booleans(),
       st.booleans())  # fmt: skip
def test_gptq(
    seed: int, step: int, bits: int, outputs: int, group: int, count: int, ordered: bool, second: bool
) -> None:
    random = np.random.default_rng(seed)
    columns, rows, top = group * count, 32 * outputs, (1 << bits) - 1
    codes = random.integers(0, top + 1, (rows, columns))
    zero = random.integers(0 if second else 1, top + 1, (rows, count))
    scale = random.random((rows, count)).astype(np.float16)
    index = np.arange(columns) // group if ordered else random.permutation(np.arange(columns) // group)
    arrays = {
        "qweight": np.ascontiguousarray(dense(codes, bits).T), "scales": np.ascontiguousarray(scale.T),
        "qzeros": dense((zero if second else zero - 1).T, bits), "g_idx": index.astype(np.int32),
    }  # fmt: skip
    section = {"quant_method": "gptq", "bits": bits, "checkpoint_format": "gptq_v2" if second else "gptq"}
    exact = (codes - zero[:, index]).astype(np.float32) * groups_of(scale, index)
    assert np.array_equal(made(stored(arrays, section), arrays, step), exact)


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 6), st.sampled_from((32, 128)), st.integers(1, 3))
def test_awq(seed: int, step: int, outputs: int, group: int, count: int) -> None:
    random = np.random.default_rng(seed)
    columns, rows = group * count, 8 * outputs
    codes, zero = random.integers(0, 16, (rows, columns)), random.integers(0, 16, (rows, count))
    scale = random.random((rows, count)).astype(np.float16)

    def words(table: Array) -> Array:
        turned = table.T.reshape(table.shape[1], outputs, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
        return loose(turned.reshape(table.shape[1], rows), 4)

    arrays = {"qweight": words(codes), "qzeros": words(zero), "scales": np.ascontiguousarray(scale.T)}
    index = np.arange(columns) // group
    exact = (codes - zero[:, index]).astype(np.float32) * groups_of(scale, index)
    assert np.array_equal(made(stored(arrays), arrays, step), exact)


def widths(columns: int, group: int) -> int:
    """AutoAWQ, calculate_zeros_width: words of zero points."""
    multiplier = {128: 1, 64: 2, 32: 4}[group]
    base = -(-(columns // group) // 8)
    return -(-base // multiplier) * multiplier


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 12), st.sampled_from((32, 64, 128)), st.integers(1, 20), st.booleans())
def test_awq_gemv(seed: int, step: int, rows: int, group: int, count: int, told: bool) -> None:
    """AutoAWQ, gemv.py, from_linear: codes and zero points along the row, lowest bits first."""
    random = np.random.default_rng(seed)
    columns, words = group * count, widths(group * count, group)
    codes, zero = random.integers(0, 16, (rows, columns)), np.zeros((rows, 8 * words), int)
    scale = np.zeros((rows, 8 * words), np.float16)
    zero[:, :count], scale[:, :count] = random.integers(0, 16, (rows, count)), random.random((rows, count))
    arrays = {"qweight": loose(codes, 4), "qzeros": loose(zero, 4), "scales": scale}
    index = np.arange(columns) // group
    exact = (codes - zero[:, index]).astype(np.float32) * groups_of(scale, index)
    module = stored(arrays, {"quant_method": "awq", "group_size": group} if told else {})
    found = weight_of(module).made
    if told or not isinstance(found, Fault):
        assert np.array_equal(made(module, arrays, step), exact)
    else:
        assert sum(widths(columns, g) == words for g in (32, 64, 128) if columns % g == 0) > 1
        assert "no config says in which groups" in found.fact


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 6), st.sampled_from((64, 128)), st.integers(1, 4))
def test_awq_gemv_fast(seed: int, step: int, fours: int, group: int, count: int) -> None:
    """AutoAWQ, gemv_fast.py, pack_intweight with interleave 4 and kstride 64, restated."""
    random = np.random.default_rng(seed)
    rows, columns, words = 4 * fours, group * count, widths(group * count, group)
    codes = random.integers(0, 16, (rows, columns))
    moved = codes.reshape(rows, -1, 4, 4, 2).transpose(0, 1, 3, 2, 4).reshape(rows, -1, 4, 4, 2)
    moved = moved.transpose(0, 1, 2, 4, 3).reshape(fours, 4, columns // 64, 64).transpose(0, 2, 1, 3)
    moved = moved.reshape(fours, columns // 64, 64, 4)
    packed = sum(moved[..., place] << 4 * place for place in range(4)).reshape(fours, columns)
    scale, zero = (np.zeros((8 * words, rows), np.float16) for _ in range(2))
    scale[:count], zero[:count] = random.random((count, rows)), -random.random((count, rows))
    arrays = {"qweight": packed.astype(np.uint16).view(np.int16), "scales": scale, "scaled_zeros": zero}
    index = np.arange(columns) // group
    exact = codes.astype(np.float32) * groups_of(scale.T, index) + groups_of(zero.T, index)
    module = stored(arrays, {"quant_method": "awq", "group_size": group})
    assert np.array_equal(made(module, arrays, step), exact)
    assert weight_of(module).group == group


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 9), st.integers(1, 4), st.sampled_from(("mxfp4", "mxfp8", "nvfp4")))
def test_mlx_without_biases(seed: int, step: int, rows: int, count: int, mode: str) -> None:
    """mlx.core.quantize's modes of floats; mlx 0.32.4 on a CPU makes the same of them in bfloat16."""
    from weightsmith.schemes.numbers import values_of

    random = np.random.default_rng(seed)
    group, bits = (16 if mode == "nvfp4" else 32), (8 if mode == "mxfp8" else 4)
    codes = random.integers(0, 0x7F if bits == 8 else 16, (rows, group * count)).astype(np.uint8)
    scale = random.integers(100, 0x7F, (rows, count)).astype(np.uint8)
    words = codes if bits == 8 else codes[:, ::2] | codes[:, 1::2] << 4
    arrays = {"weight": np.ascontiguousarray(words).view(np.uint32), "scales": scale}
    numbers = values_of(codes, "F8_E4M3") if bits == 8 else E2M1[codes]
    factor = values_of(scale, "F8_E4M3" if mode == "nvfp4" else "F8_E8M0")
    module = stored(arrays)
    assert np.array_equal(made(module, arrays, step), numbers * factor.repeat(group, 1))
    assert (weight_of(module).bits, weight_of(module).group) == (bits, group)


def test_mlx_says_of_each_module_in_which_groups_it_is() -> None:
    arrays = {
        "weight": np.zeros((4, 16), np.uint32), "scales": np.ones((4, 1), np.float16),
        "biases": np.zeros((4, 1), np.float16),
    }  # fmt: skip
    section = {"group_size": 32, "bits": 4, "mode": "mxfp4", "m": {"group_size": 64, "bits": 8}}
    found = weight_of(stored(arrays, section))
    assert (found.bits, found.group, found.shape) == (8, 64, (4, 64))


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 3), st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_blocks_begin_anew_with_each_matrix(
    seed: int, step: int, matrices: int, rows: int, columns: int, exponents: bool
) -> None:
    random = np.random.default_rng(seed)
    shape = (matrices, rows, columns) if matrices > 1 else (rows, columns)
    codes = random.integers(0, 0x7F, shape).astype(np.uint8)
    down, across = -(-rows // 128), -(-columns // 128)
    scale = random.integers(100, 130, (*shape[:-2], down, across)).astype(np.uint8)
    if not exponents:
        scale = scale.astype(np.float32)
    arrays = {"weight": codes, "weight_scale_inv": scale}
    section = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    from weightsmith.schemes.numbers import values_of

    factor = np.exp2(scale.astype(np.float32) - 127) if exponents else scale
    spread = factor.repeat(128, -2)[..., :rows, :].repeat(128, -1)[..., :columns]
    module = stored(arrays, section, dtypes={"weight": "F8_E4M3"})
    assert np.array_equal(made(module, arrays, step * 7), values_of(codes, "F8_E4M3") * spread)


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 20), st.integers(1, 4), st.sampled_from(("U8", "I8")))
def test_mxfp4(seed: int, step: int, rows: int, count: int, dtype: str) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 16, (rows, 32 * count))
    scale = random.integers(100, 140, (rows, count)).astype(np.uint8)
    arrays = {"weight": (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8), "weight_scale": scale}
    exact = E2M1[codes] * np.exp2(scale.astype(np.float32) - 127).repeat(32, 1)
    assert np.array_equal(made(stored(arrays, dtypes={"weight": dtype}), arrays, step), exact)


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 20), st.integers(1, 4), st.booleans())
def test_nvfp4(seed: int, step: int, rows: int, count: int, compressed: bool) -> None:
    from weightsmith.schemes.numbers import values_of

    random = np.random.default_rng(seed)
    codes = random.integers(0, 16, (rows, 16 * count))
    scale = random.integers(1, 0x7F, (rows, count)).astype(np.uint8)
    second = random.random(1).astype(np.float32) + np.float32(0.1)
    packed = (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8)
    levels = values_of(scale, "F8_E4M3")
    if compressed:
        arrays = {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": second}
        full = levels / second
    else:
        arrays = {"weight": packed, "weight_scale": scale, "weight_scale_2": second}
        full = levels * second
    exact = E2M1[codes] * full.repeat(16, 1)
    assert np.array_equal(made(stored(arrays, dtypes={"weight_scale": "F8_E4M3"}), arrays, step), exact)


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 12), st.integers(1, 8))
def test_bitnet_divides_or_multiplies_as_its_layer_does(
    seed: int, step: int, rows: int, columns: int
) -> None:
    random = np.random.default_rng(seed)
    rows += 1
    codes = random.integers(0, 3, (4, rows, columns))
    packed = sum(codes[field] << 2 * field for field in range(4)).astype(np.uint8)
    arrays = {"weight": packed, "weight_scale": np.array([0.75], np.float32)}
    signs = codes.reshape(4 * rows, columns).astype(np.float32) - 1
    module = stored(arrays, {"quant_method": "bitnet", "linear_class": "autobitlinear"})
    assert np.array_equal(made(module, arrays, step), signs * np.float32(0.75))
    module = stored(arrays, {"quant_method": "bitnet"})
    assert np.array_equal(made(module, arrays, step), signs * (np.float32(1) / np.float32(0.75)))
    assert isinstance(weight_of(stored(arrays)).made, Fault)


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 12), st.integers(1, 3), st.sampled_from((1, 2, 4)), st.booleans())
def test_modelslim_int8(seed: int, step: int, rows: int, count: int, group: int, own_scale: bool) -> None:
    random = np.random.default_rng(seed)
    groups = count if own_scale else 1
    columns = 8 * group * groups
    codes = random.integers(-128, 128, (rows, columns)).astype(np.int8)
    scale = random.random((rows, groups)).astype(np.float32) + np.float32(0.01)
    index = np.arange(columns) // (columns // groups)
    if own_scale:
        zero = random.integers(-128, 128, (rows, groups)).astype(np.float32)
        arrays = {"weight": codes, "weight_scale": scale, "weight_offset": zero}
        exact = (codes - zero[:, index]) * scale[:, index]
    else:
        told = np.array([0.02], np.float32)
        bits = (scale[:, 0] * told).view(np.int32).astype(np.int64)
        arrays = {
            "weight": codes,
            "deq_scale": bits,
            "input_scale": told,
            "quant_bias": np.zeros(rows, np.int32),
        }
        exact = codes * ((scale[:, :1] * told) / told)
    assert np.array_equal(made(stored(arrays), arrays, step), exact)


@EXAMPLES
@given(SEEDS, STEPS, st.integers(1, 9), st.integers(1, 3), st.booleans())
def test_modelslim_w4a8(seed: int, step: int, pairs: int, count: int, second: bool) -> None:
    random = np.random.default_rng(seed)
    rows, columns = 2 * pairs, 32 * count
    codes = random.integers(-8, 8, (rows, columns)).astype(np.int8)
    scale = random.random((rows, 1)).astype(np.float32)
    arrays = {
        "weight": (codes[1::2] << 4) | (codes[::2] & 15), "weight_scale": scale,
        "weight_offset": np.zeros((rows, 1), np.float32), "scale_bias": np.zeros((rows, 1), np.float32),
    }  # fmt: skip
    full = scale
    if second:
        arrays["weight_scale_second"] = random.random((rows, count)).astype(np.float32)
        full = (scale * arrays["weight_scale_second"]).repeat(32, 1)
    module = stored(arrays)
    assert np.array_equal(made(module, arrays, step), codes * full)
    assert (weight_of(module).method, weight_of(module).bits) == ("modelslim-w4", 4)


def test_the_last_group_may_be_shorter() -> None:
    """96 channels in groups of 64, as the config states them: two groups, and not two of 48."""
    random = np.random.default_rng(3)
    codes, zero = random.integers(0, 16, (32, 96)), random.integers(1, 16, (32, 2))
    scale, index = random.random((32, 2)).astype(np.float16), np.arange(96) // 64
    arrays = {
        "qweight": np.ascontiguousarray(dense(codes, 4).T), "qzeros": dense((zero - 1).T, 4),
        "scales": np.ascontiguousarray(scale.T),
    }  # fmt: skip
    module = stored(arrays, {"quant_method": "gptq", "bits": 4, "group_size": 64})
    assert np.array_equal(made(module, arrays), (codes - zero[:, index]) * groups_of(scale, index))
    assert weight_of(module).group == 64


def test_flatquant_is_refused_by_name() -> None:
    arrays = {
        "weight": np.zeros((4, 8), np.int8), "weight_scale": np.ones((4, 1), np.float32),
        "left_trans": np.eye(2, dtype=np.float32), "right_trans": np.eye(4, dtype=np.float32),
    }  # fmt: skip
    fault = weight_of(stored(arrays)).made
    assert isinstance(fault, Fault)
    assert "FlatQuant" in fault.fact


def test_the_description_is_a_claim() -> None:
    arrays = {
        "weight": np.zeros((4, 8), np.int8), "weight_scale": np.ones((4, 1), np.float32),
        "weight_offset": np.zeros((4, 1), np.float32),
    }  # fmt: skip
    for mode in ("FLOAT", "W2A2"):
        fault = weight_of(stored(arrays, description={"m.weight": mode})).made
        assert isinstance(fault, Fault)
        assert mode in fault.fact
    assert "W8A8_DYNAMIC" in MODES


def test_transposed_scales_are_refused_where_the_config_tells() -> None:
    arrays = {"weight": np.zeros((256, 512), np.uint8), "weight_scale_inv": np.ones((4, 2), np.float32)}
    section = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    fault = weight_of(stored(arrays, section, dtypes={"weight": "F8_E4M3"})).made
    assert isinstance(fault, Fault)
    assert "would transposed" in fault.fact


@pytest.mark.parametrize(("bits", "stated"), [(4, 8), (8, 4)])
def test_bits_that_the_config_states_otherwise_are_a_contradiction(bits: int, stated: int) -> None:
    codes = np.zeros((4, 64), int)
    arrays = {
        "weight_packed": dense(codes, bits), "weight_scale": np.ones((4, 1), np.float32),
        "weight_shape": np.array([4, 64]),
    }  # fmt: skip
    section = {"config_groups": {"g": {"weights": {"num_bits": stated}}}}
    fault = weight_of(stored(arrays, section)).made
    assert isinstance(fault, Fault)
    assert f"the config says {stated}" in fault.fact
