"""Casts round once, half to even, whatever the pair of formats."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.values.test_ternary import TYPES, exactly, rounded_once
from weightsmith.checkpoint.float_formats import FORMATS, array_type, cast

ALL = {**TYPES, "F64": np.float64}


@pytest.mark.parametrize("source", list(ALL))
@pytest.mark.parametrize("target", list(TYPES))
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_finite_number_rounds_to_its_nearest(source: str, target: str, data: st.DataObject) -> None:
    word = np.dtype(f"u{np.dtype(ALL[source]).itemsize}")
    infinity = FORMATS[source].infinity
    bits = data.draw(hnp.arrays(word, 16, elements=st.integers(0, infinity - 1)))
    # The middle of two numbers of the target, and its neighbours, are where a second rounding would show.
    middle = np.float64(1.0) + np.float64(0.5) * np.spacing(np.array(1.0, ALL[target]).astype(np.float64))
    numbers = np.concatenate([bits.view(ALL[source]), np.array([middle, -middle]).astype(ALL[source])])
    rounded, lost = cast(numbers, FORMATS[source], FORMATS[target])
    assert rounded.dtype == array_type(FORMATS[target])
    infinite = np.isinf(rounded.astype(np.float64))
    assert lost == int(infinite.sum())
    for number, result in zip(numbers[~infinite], rounded[~infinite], strict=True):
        expected = rounded_once(abs(exactly(number)), target)
        assert abs(float(result)) == expected


def test_float64_to_bfloat16_rounds_once() -> None:
    """Just above the middle by less than float32 can see: by way of float32 it would round down."""
    number = np.array([1 + 2**-8 + 2**-40, -(1 + 2**-8 + 2**-40), 1 + 2**-8])
    assert [float(x) for x in number.astype(ml_dtypes.bfloat16)] == [1.0, -1.0, 1.0], "ml_dtypes rounds twice"
    rounded, _ = cast(number, FORMATS["F64"], FORMATS["BF16"])
    assert [float(x) for x in rounded] == [1 + 2**-7, -(1 + 2**-7), 1.0]


def test_casting_agrees_with_torch_on_every_bfloat16_and_float16() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    for source, target, torch_source, torch_target in (
        ("BF16", "F16", torch.bfloat16, torch.float16),
        ("F16", "BF16", torch.float16, torch.bfloat16),
        ("BF16", "F32", torch.bfloat16, torch.float32),
        ("F16", "F32", torch.float16, torch.float32),
    ):
        ours, _ = cast(patterns.view(ALL[source]), FORMATS[source], FORMATS[target])
        theirs = torch.from_numpy(patterns.copy()).view(torch_source).to(torch_target)
        with np.errstate(invalid="ignore"):
            ours_as_double, theirs_as_double = ours.astype(np.float64), theirs.double().numpy()
        assert np.array_equal(ours_as_double, theirs_as_double, equal_nan=True)
        number = ~np.isnan(ours_as_double)  # torch drops the sign of a NaN
        assert np.array_equal(np.signbit(ours_as_double)[number], np.signbit(theirs_as_double)[number])


def test_nan_stays_nan_and_infinity_is_not_counted_as_lost() -> None:
    bits = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000, 0xFF800000], np.uint32)
    rounded, lost = cast(bits.view(np.float32), FORMATS["F32"], FORMATS["BF16"])
    as_double = rounded.astype(np.float64)
    assert np.isnan(as_double[:3]).all()
    assert as_double[3] == np.inf
    assert as_double[4] == -np.inf
    assert lost == 0
    # Sign and upper payload stay, and the quiet bit is set: of all alone as well.
    expected = np.array([0x7FFF, 0xFFFF, 0x7FC0, 0x7F80, 0xFF80], np.uint16)
    for chosen in ([0, 1, 2, 3, 4], [0], [1], [2], [3, 4]):
        rounded, _ = cast(bits[chosen].view(np.float32), FORMATS["F32"], FORMATS["BF16"])
        assert rounded.view(np.uint16).tolist() == expected[chosen].tolist()


def test_numbers_that_become_infinite_are_counted() -> None:
    numbers = np.array([1e5, -1e5, 1.0, np.inf], np.float32)
    assert cast(numbers, FORMATS["F32"], FORMATS["F16"])[1] == 2
