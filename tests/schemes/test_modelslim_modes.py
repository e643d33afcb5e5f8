"""Each mode that vllm-ascend registers makes the weight that its own code multiplies by.

Sources: vllm-ascend 0.18.0, 0.23.0 and 0.26.0rc1, vllm_ascend/quantization/methods/*.py, and for the modes of a 310P
vllm_ascend/_310p/quantization/methods/*.py. What is asserted is the matrix W of `y = x W^T + bias` in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.schemes.storing import made, stored, weight_of
from weightsmith.schemes.arithmetic import OutOfPlaceError
from weightsmith.schemes.formula import Fault
from weightsmith.schemes.modelslim import MODES
from weightsmith.schemes.numbers import values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint.arrays import Array, Singles

N, K, G = 6, 64, 32
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
Case = tuple[dict[str, "Array"], "Singles", dict[str, str]]
random = np.random.default_rng(7)


def column(low: float = 0.01, width: int = 1) -> Singles:
    found: Singles = (random.random((N, width)) + low).astype(np.float32)
    return found


def codes(bits: int) -> Array:
    half = 1 << bits - 1
    return random.integers(-half, half, (N, K)).astype(np.int8)


def zeros(width: int = 1, dtype: type = np.float32) -> Array:
    return np.zeros((N, width), dtype)


def of_rows(bits: int) -> Case:
    """w8a8_dynamic.py, w8a16.py, w4a4_laos_dynamic.py (which packs the int8 codes itself when it has loaded them)."""
    weight, scale = codes(bits), column()
    return {"weight": weight, "weight_scale": scale, "weight_offset": zeros()}, weight * scale, {}


def static() -> Case:
    """w8a8_static.py: (round(x / input_scale + input_offset) W_int8^T + quant_bias) * deq_scale."""
    weight, scale = codes(8), column()
    step, offset = np.array([0.02], np.float32), np.array([-13], np.int8)
    deq = (scale[:, 0] * step).astype(np.float32)
    added = -(weight.sum(1, dtype=np.int64) * -13).astype(np.int32)
    arrays = {
        "weight": weight,
        "deq_scale": deq,
        "input_scale": step,
        "input_offset": offset,
        "quant_bias": added,
    }
    return arrays, weight * (deq / step)[:, None], {}


def mixed() -> Case:
    """w8a8_pdmix.py: all of the static mode, and the scales and offsets of the dynamic one."""
    arrays, _, _ = static()
    scale = column()
    arrays |= {"weight_scale": scale, "weight_offset": zeros()}
    return arrays, arrays["weight"] * scale, {}


def two_levels() -> Case:
    """w4a8.py, process_scale_second: antiquant_scale = scale * per_group_scale; a code of 4 bits in each int8."""
    weight, scale, second = codes(4), column(), column(width=K // G)
    arrays = {
        "weight": weight, "weight_scale": scale, "weight_offset": zeros(), "weight_scale_second": second,
        "weight_offset_second": zeros(K // G, np.int64),
    }  # fmt: skip
    return arrays, weight * (scale * second).repeat(G, 1), {}


def two_rows_in_one() -> Case:
    """The same since version 1.0.0 (w4a8.py, `new_quant_version`; packed by msmodelslim, w4a8_pack_int4)."""
    arrays, exact, _ = two_levels()
    weight = arrays["weight"]
    packed = ((weight[1::2] << 4) | (weight[::2] & 15)).astype(np.int8)
    return {**arrays, "weight": packed, "scale_bias": zeros()}, exact, {}


def fp8_rows() -> Case:
    """w8a8fp8_dynamic.py: weight float8_e4m3fn, weight_scale float32 [N, 1]."""
    patterns, scale = random.integers(0, 0x7F, (N, K)).astype(np.uint8), column()
    arrays = {"weight": patterns, "weight_scale": scale, "weight_offset": zeros()}
    return arrays, values_of(patterns, "F8_E4M3") * scale, {"weight": "F8_E4M3"}


def mxfp8() -> Case:
    """w8a8_mxfp8.py: weight float8_e4m3fn, weight_scale uint8 [N, K/32], the exponents of E8M0."""
    patterns = random.integers(0, 0x7F, (N, K)).astype(np.uint8)
    exponents = random.integers(100, 130, (N, K // 32)).astype(np.uint8)
    exact = values_of(patterns, "F8_E4M3") * np.exp2(exponents.astype(np.float32) - 127).repeat(32, 1)
    return {"weight": patterns, "weight_scale": exponents}, exact, {"weight": "F8_E4M3"}


def mxfp4() -> Case:
    """w4a8_mxfp4.py, w4a4_mxfp4.py, w4a16_mxfp4.py (unpack_uint8_to_fp4_return_float32: the low half is first)."""
    found = random.integers(0, 16, (N, K))
    exponents = random.integers(100, 130, (N, K // 32)).astype(np.uint8)
    packed = (found[:, ::2] | found[:, 1::2] << 4).astype(np.uint8)
    exact = E2M1[found] * np.exp2(exponents.astype(np.float32) - 127).repeat(32, 1)
    return {"weight": packed, "weight_scale": exponents}, exact, {}


def words() -> Case:
    """w4a16.py, unpack_from_int32: eight codes + 8 in an int32, lowest bits first; as LLM-Compressor stores it."""
    weight, scale = codes(4), column(width=K // G)
    stream = (weight + 8).astype(np.uint32).reshape(N, K // 8, 8)
    packed = (
        sum(stream[..., place] << np.uint32(4 * place) for place in range(8)).astype(np.uint32).view(np.int32)
    )
    arrays = {"weight_packed": packed, "weight_scale": scale, "weight_shape": np.array([N, K])}
    return arrays, weight * scale.repeat(G, 1), {}


def blocks() -> Case:
    """fp8.py: DeepSeek's blocks of 128 x 128, with E8M0 in `scale`."""
    patterns = random.integers(0, 0x7F, (N, K)).astype(np.uint8)
    exponent = np.array([[121]], np.uint8)
    exact = values_of(patterns, "F8_E4M3") * np.float32(2.0**-6)
    return {"weight": patterns, "scale": exponent}, exact, {"weight": "F8_E4M3", "scale": "F8_E8M0"}


MADE: Mapping[str, tuple[Callable[[], Case], int]] = {
    "W8A8": (static, 8),
    "W8A8S": (static, 8),  # on a 310P: w8a8s.py
    "W8A8_MIX": (mixed, 8),
    "W8A8_DYNAMIC": (lambda: of_rows(8), 8),
    "W8A16": (lambda: of_rows(8), 8),
    "W4A4_DYNAMIC": (lambda: of_rows(4), 4),
    "W4A8_DYNAMIC": (two_levels, 4),
    "W4A8_DYNAMIC since 1.0.0": (two_rows_in_one, 4),
    "W8A8FP8_DYNAMIC": (fp8_rows, 8),
    "WFP8AFP8_DYNAMIC": (fp8_rows, 8),  # what msmodelslim calls it
    "W8A8_MXFP8": (mxfp8, 8),
    "W4A8_MXFP": (mxfp4, 4),
    "W4A4_MXFP4": (mxfp4, 4),
    "W4A16_MXFP4": (mxfp4, 4),
    "W4A16": (words, 4),
    "FP8": (blocks, 8),
}
# They have a basis of their own, or a stream of bytes.
REFUSED = ("W4A4_FLATQUANT_DYNAMIC", "W4A4_MXFP4_FLATQUANT", "W8A8SC")
# These are said of caches and of attention, and of weights that are not packed.
NOT_OF_WEIGHTS = ("C8", "FAKQuant", "INT8_DYNAMIC", "FLOAT")


@pytest.mark.parametrize("mode", MADE)
def test_a_mode_makes_the_weight_that_vllm_ascend_multiplies_by(mode: str) -> None:
    arrays, exact, dtypes = MADE[mode][0]()
    named = next(part for part in ("weight", "weight_packed") if part in arrays)
    module = stored(arrays, description={f"m.{named}": mode.split()[0]}, dtypes=dtypes)
    assert np.array_equal(made(module, arrays, 2), exact)
    found = weight_of(module)
    assert (found.bits, found.shape) == (MADE[mode][1], (N, K))
    assert found.method not in ("compressed-tensors-fp8", "compressed-tensors-int8"), (
        "no config follows from it"
    )


def test_every_registered_mode_has_its_test() -> None:
    assert {*(mode.split()[0] for mode in MADE), *REFUSED, *NOT_OF_WEIGHTS} == MODES | {"WFP8AFP8_DYNAMIC"}


@pytest.mark.parametrize("mode", REFUSED)
def test_what_is_in_another_basis_or_compressed_is_refused_by_name(mode: str) -> None:
    packed = mode == "W4A4_MXFP4_FLATQUANT"
    arrays = {"weight": np.zeros((N, K), np.uint8 if packed else np.int8), "weight_scale": column()}
    if mode == "W8A8SC":
        arrays = {
            "weight": np.zeros(97, np.int8), "index": np.zeros(8, np.int8), "info": np.zeros(5, np.int64),
            "deq_scale": np.ones(N, np.float32),
        }  # fmt: skip
    else:
        arrays |= {"left_trans": np.eye(2, dtype=np.float32), "right_trans": np.eye(32, dtype=np.float32)}
    fault = weight_of(stored(arrays, description={"m.weight": mode})).made
    assert isinstance(fault, Fault)
    assert ("W8A8SC" if mode == "W8A8SC" else "FlatQuant") in fault.fact


def test_4_bits_in_rows_since_1_0_0_are_refused() -> None:
    """msmodelslim, _w4a16_pack_int4 with `trans_flag`: two codes of a row in a byte; no loader takes it."""
    arrays = {"weight": codes(8), "weight_scale": column(), "weight_offset": zeros()}
    module = stored(arrays, description={"m.weight": "W4A16", "version": "1.0.0"})
    fault = weight_of(module).made
    assert isinstance(fault, Fault)
    assert "W4A16 in rows" in fault.fact


@pytest.mark.parametrize("name", ["weight_offset", "weight_offset_second"])
def test_offsets_of_two_levels_must_be_zero(name: str) -> None:
    """w4a8.py: "msmodelslim w4a8 uses symmetric quantization"; it reads these and uses none."""
    arrays, _, _ = two_levels()
    arrays[name][N - 1, -1] = 1
    with pytest.raises(OutOfPlaceError, match="offsets that are not zero") as raised:
        made(stored(arrays), arrays)
    assert raised.value.tensor == f"m.{name}"
