"""The quantizer's arithmetic against exact fractions, and against the straightforward torch formula."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.values.making import torch_fuse
from weightsmith.values.brackets import Halves, bracket_means
from weightsmith.values.ternary_quantizer import EPS, NotFiniteError, fuse

LARGEST = {"BF16": 0x7F7F, "F16": 0x7BFF, "F32": 0x7F7FFFFF}  # patterns of the largest finite numbers
TYPES = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32}


def patterns(dtype: str, count: int) -> st.SearchStrategy[np.ndarray]:
    """Any finite numbers of the format: subnormal, tiny beside huge, negative zero."""
    width = np.dtype(TYPES[dtype]).itemsize * 8
    word = np.dtype(f"u{width // 8}")
    infinity = int(np.array([np.inf]).astype(TYPES[dtype]).view(word)[0])
    magnitudes = hnp.arrays(word, count, elements=st.integers(0, infinity - 1))
    signs = hnp.arrays(word, count, elements=st.integers(0, 1))
    return st.builds(lambda m, s: (m | (s << word.type(width - 1))).view(TYPES[dtype]), magnitudes, signs)


def exactly(value: Any) -> Fraction:
    return Fraction(float(value))


def rounded_once(value: Fraction, dtype: str) -> float:
    """The number of the format nearest to `value`, half to even, found by looking at both neighbours."""
    word = np.dtype(f"u{np.dtype(TYPES[dtype]).itemsize}")
    with np.errstate(over="ignore"):
        guess = int(np.array([float(value)]).astype(TYPES[dtype]).view(word)[0])
    infinity = int(np.array([np.inf]).astype(TYPES[dtype]).view(word)[0])
    around = [bits for bits in range(max(guess - 2, 0), guess + 3) if bits < infinity]
    numbers = {bits: exactly(np.array([bits], word).view(TYPES[dtype])[0]) for bits in around}
    best = min(around, key=lambda bits: (abs(numbers[bits] - value), bits % 2))
    return float(numbers[best])


def overflow(dtype: str) -> Fraction:
    """The least number that rounds to infinity: half a step above the largest finite one."""
    largest, before = (
        exactly(np.array([i], np.dtype(f"u{np.dtype(TYPES[dtype]).itemsize}")).view(TYPES[dtype])[0])
        for i in (LARGEST[dtype], LARGEST[dtype] - 1)
    )
    return largest + (largest - before) / 2


def fused_by_fractions(row: np.ndarray, group: int, dtype: str) -> list[float]:
    """Equations 1 and 2 of the report, in exact arithmetic, with one rounding at the end."""
    result: list[float] = []
    for start in range(0, len(row), group):
        weights = [exactly(w) for w in row[start : start + group]]
        scale = max(sum(abs(w) for w in weights) / group, Fraction(EPS))
        written = rounded_once(scale, dtype)
        for weight in weights:
            code = max(-1, min(1, round(weight / scale)))  # Fraction rounds half to even, as torch.round does
            result.append(code * written if code else 0.0)
    return result


@pytest.mark.parametrize("source", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("target", ["BF16", "F16", "F32"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fused_weights_are_those_of_exact_arithmetic(source: str, target: str, data: st.DataObject) -> None:
    row = data.draw(patterns(source, 48))
    group = data.draw(st.sampled_from([3, 16, 48]))
    scales = [sum(exactly(abs(w)) for w in row[i : i + group]) / group for i in range(0, 48, group)]
    if max(scales) >= overflow(target):
        with pytest.raises(NotFiniteError, match="too large"):
            fuse(row.reshape(1, 48), source, target, group)
        return
    expected = fused_by_fractions(row, group, target)
    fused = fuse(row.reshape(1, 48), source, target, group)
    assert [float(x) for x in fused[0]] == expected


def test_a_mean_that_float64_cannot_hold_is_still_exact() -> None:
    """One huge weight among tiny ones: a float64 sum drops the tiny ones, and they decide the rounding."""
    row = np.full(16, 1e-38, np.float32)
    halfway = np.float32(1 + 2**-8)  # between two bfloat16 numbers
    row[0] = halfway * 16  # the mean is a hair above halfway: it must round up
    fused = fuse(row.reshape(1, 16), "F32", "BF16", 16)
    assert float(fused[0, 0]) == 1 + 2**-7
    row[1:] = 0  # exactly halfway: to even, which is down
    assert float(fuse(row.reshape(1, 16), "F32", "BF16", 16)[0, 0]) == 1.0


@pytest.mark.parametrize("depth", [18, 19, 20, 21])
def test_the_last_bit_of_a_sum_decides_the_rounding_of_its_mean(depth: int) -> None:
    """1024 float32 weights whose mean is the middle of two bfloat16 numbers and 2**-(depth + 33) more: it rounds up.

    To depth 19 a float64 sum is exact, and the quotient must remember what it drops; from 20 on the sum needs 54 bits.
    """
    small = 2.0**-depth
    row = np.array([small * (1 + 2**-23), 1.5 - small, *[1.5] * 9, *[1.0] * 1013], np.float32)
    assert sum(exactly(w) for w in row) == 1024 * (1 + Fraction(1, 256)) + Fraction(1, 2 ** (depth + 23))
    assert float(np.abs(fuse(row.reshape(1, 1024), "F32", "BF16", 1024)).max()) == 1 + 2**-7


@given(hnp.arrays(np.uint16, 64, elements=st.integers(0, 0x7F7F)))
@example(np.full(64, 0x3F80, np.uint16))
@settings(max_examples=100, deadline=None)
def test_a_weight_of_exactly_half_the_scale_is_zero(bits: np.ndarray) -> None:
    row = bits.view(ml_dtypes.bfloat16)
    scale = max(sum(exactly(w) for w in row) / 64, Fraction(EPS))
    fused = fuse(row.reshape(1, 64), "BF16", "BF16", 64)[0]
    for weight, value in zip(row, fused, strict=True):
        assert (float(value) != 0) == (exactly(weight) > scale / 2)


@pytest.mark.parametrize("size", [16, 48, 128, 768, 6144])
@pytest.mark.parametrize("target", ["BF16", "F16"])
def test_what_float32_sums_decide_is_what_exact_sums_decide(
    size: int, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million weights like trained ones, and as many whose groups have few bits, so that ties are common."""
    generator = np.random.default_rng(size)
    trained = generator.standard_normal((170, 6144), np.float32) * np.float32(0.02)
    coarse = generator.integers(-3, 4, (170, 6144)) * np.float32(2.0**-9)
    rows = np.vstack([trained, coarse]).astype(ml_dtypes.bfloat16)
    quick = fuse(rows, "BF16", target, size)
    monkeypatch.setattr("weightsmith.values.ternary_quantizer.can_bracket", lambda size: False)
    exact = fuse(rows, "BF16", target, size)
    assert np.array_equal(quick.view(np.uint16), exact.view(np.uint16))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=st.sampled_from([16, 48, 128, 384]))
def test_the_mean_lies_between_its_bounds(data: st.DataObject, size: int) -> None:
    row = data.draw(patterns("BF16", size))
    mean = sum(exactly(abs(w)) for w in row) / size
    lower, upper = bracket_means(row.view(np.uint16).reshape(1, -1), Halves.for_blocks(size))
    if mean >= Fraction(EPS) and np.isfinite(upper[0]):
        assert exactly(lower[0]) <= mean <= exactly(upper[0])
        assert exactly(upper[0]) - exactly(lower[0]) <= mean / (1 << 16)


def test_zeros_are_positive() -> None:
    weights = torch.randn(64, 256).to(torch.bfloat16)
    fused = fuse(weights.view(torch.uint16).numpy(), "BF16", "BF16", 128).view(np.uint16)
    assert not (fused == 0x8000).any()
    assert (fused == 0).any()
    reference = torch_fuse(weights, 128).view(torch.uint16).numpy()
    assert (reference == 0x8000).any(), "the naive formula leaves negative zeros, which is why this matters"


def test_dead_channels_take_the_smallest_scale() -> None:
    weights = np.full((1, 32), 1e-7, np.float32)
    assert not fuse(weights, "F32", "F32", 16).any()
    weights[0, 3] = 1e-5
    fused = fuse(weights, "F32", "F32", 16)
    assert fused[0, 3] == np.float32(EPS)
    assert np.count_nonzero(fused) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_without_a_mean_are_refused(bad: float) -> None:
    weights = np.zeros((4, 32), np.float32)
    weights[2, 5] = bad
    with pytest.raises(NotFiniteError):
        fuse(weights, "F32", "BF16", 16)


def test_a_scale_beyond_the_written_format_is_refused() -> None:
    with pytest.raises(NotFiniteError, match="F16"):
        fuse(np.full((1, 16), 1e5, np.float32), "F32", "F16", 16)


@pytest.mark.parametrize("group", [0, -2, 48, 512])
def test_groups_must_divide_a_row(group: int) -> None:
    with pytest.raises(ValueError, match="divide"):
        fuse(np.zeros((2, 256), np.float32), "F32", "F32", group)


@pytest.mark.parametrize("group", [16, 96, 128, -1])
def test_blocks_and_chunks_leave_no_seam(group: int) -> None:
    """More rows than a chunk holds give what each row gives by itself."""
    weights = torch.randn(700, 768).to(torch.bfloat16).view(torch.uint16).numpy()
    together = fuse(weights, "BF16", "BF16", group)
    alone = np.concatenate([fuse(weights[i : i + 1], "BF16", "BF16", group) for i in range(len(weights))])
    assert np.array_equal(together.view(np.uint16), alone.view(np.uint16))


def scales_of(fused: np.ndarray, group: int) -> np.ndarray:
    return np.abs(fused.view(ml_dtypes.bfloat16).astype(np.float32)).reshape(-1, group).max(axis=1)


@pytest.mark.parametrize("group", [64, 128, 512])
def test_torchs_float32_formula_agrees_within_one_ulp_and_its_other_codes_are_ties(group: int) -> None:
    """torch rounds the mean to float32 and the quotient as well; ours rounds neither.

    So scales may be one bf16 step apart (a mean next to the middle of two bf16 numbers), and a code may differ only
    where |W| / s is within float32's error of 1/2. Weights on a coarse grid make such near-ties likely.
    """
    generator = torch.Generator().manual_seed(group)
    random = (torch.randn(1024, 512, generator=generator) * 0.02).to(torch.bfloat16)
    coarse = (torch.randint(-4, 5, (1024, 512), generator=generator) / 64).to(torch.bfloat16)
    differences = 0
    for weights in (random, coarse):
        ours = fuse(weights.view(torch.uint16).numpy(), "BF16", "BF16", group).view(np.uint16)
        theirs = torch_fuse(weights, group).view(torch.uint16).numpy()
        ulps = (
            scales_of(ours, group).view(np.int32) // 65536 - scales_of(theirs, group).view(np.int32) // 65536
        )
        assert np.abs(ulps).max() <= 1
        codes_differ = ((ours & 0x7FFF) != 0) != ((theirs & 0x7FFF) != 0)
        differences += int(codes_differ.sum())
        groups = weights.double().abs().reshape(-1, group)
        ratio = (groups / groups.mean(dim=1, keepdim=True)).reshape(weights.shape).numpy()
        assert np.all(np.abs(ratio[codes_differ] - 0.5) < 2**-22), "a code differs that is no tie"
    print(f"group {group}: {differences} codes of {2 * 1024 * 512} differ, all of them ties")


def test_the_code_that_torch_gets_wrong_because_float32_rounds_its_mean() -> None:
    """A mean of 2 - 2**-30: half of it is below 1, so a weight of 1 has the code 1. The float32 mean is 2: a tie."""
    almost_two = [2 - 2**-7, 2**-7 * (1 - 2**-8), 2**-15 * (1 - 2**-8)]  # 2 - 2**-23 together
    weights = torch.tensor([[1.0, *almost_two, 7.0, *[2.0] * 123]], dtype=torch.float64).to(torch.bfloat16)
    assert weights.double().mean() == 2 - 2**-30
    ours = fuse(weights.view(torch.uint16).numpy(), "BF16", "BF16", 128)
    theirs = torch_fuse(weights, 128)
    assert float(ours[0, 0]) == 2.0
    assert float(theirs[0, 0]) == 0.0
    assert [float(x) for x in ours[0, 1:]] == theirs[0, 1:].tolist()


def test_a_weight_of_half_the_mean_is_zero_in_both() -> None:
    weights = torch.tensor([[1.0, 2.0, 3.0] * 11]).to(torch.bfloat16)
    ours = fuse(weights.view(torch.uint16).numpy(), "BF16", "BF16", 33)
    assert [float(x) for x in ours[0, :3]] == [0.0, 2.0, 2.0]
    assert torch_fuse(weights, 33)[0, :3].tolist() == [0.0, 2.0, 2.0]
