"""Each scheme knows its own layout, and no other takes it for its own. Whole checkpoints: tests/shapes/test_packed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple, get_args

import pytest

from weightsmith.checkpoint import Storage, Tensor
from weightsmith.checkpoint.layout import row_major
from weightsmith.schemes.formula import Fault, Formula
from weightsmith.schemes.packed_module import PER_ROW, PER_TENSOR, Method, Shape, StoredModule
from weightsmith.schemes.registry import SCHEMES, packed_weight
from weightsmith.schemes.stated import Stated

N, K = 256, 512
SHAPE = (N, K)
STATE = json.dumps({"shape": [N, K]}).encode()


class Expected(NamedTuple):
    """What a scheme says of a weight."""

    method: Method
    shape: Shape
    bits: int
    group: int


def stored(quant_method: str | None = None, /, **parts: tuple[str, tuple[int, ...]]) -> StoredModule:
    """A module's tensors by last name: dtype and shape."""
    tensors = {
        name.replace("__STATE__", "bitsandbytes__"): Tensor(
            name, dtype, shape, Storage("f", 0, 0), 0, row_major(shape)
        )
        for name, (dtype, shape) in parts.items()
    }
    stated = Stated({"quant_method": quant_method} if quant_method else {})
    return StoredModule("m", "m.weight", tensors, frozenset({N, K}), lambda _: STATE, stated)


def expected_of(module: StoredModule) -> Expected | None:
    found = packed_weight(module)
    return (
        None
        if found is None or found.shape is None
        else Expected(found.method, found.shape, found.bits, found.group)
    )


ROW_SCALES, ONE_SCALE = ("BF16", (N, 1)), ("BF16", (1,))
# (the tensors, the weight that they stand for); groups of 128 channels where there are groups.
CASES: list[tuple[StoredModule, Expected]] = [
    (
        stored(qweight=("I32", (K // 8, N)), scales=("F16", (4, N)), qzeros=("I32", (4, N // 8))),
        Expected("gptq", SHAPE, 4, 128),
    ),
    (
        stored(qweight=("I32", (K, N // 8)), scales=("F16", (4, N)), qzeros=("I32", (4, N // 8))),
        Expected("awq", SHAPE, 4, 128),
    ),
    (
        stored(weight_packed=("I32", (N, K // 8)), weight_scale=("BF16", (N, 4))),
        Expected("compressed-tensors-packed", SHAPE, 4, 128),
    ),
    (
        stored(weight_packed=("U8", (N, K // 2)), weight_scale=("F8_E4M3", (N, K // 16))),
        Expected("compressed-tensors-nvfp4", SHAPE, 4, 16),
    ),
    (
        stored(weight=("F8_E4M3", SHAPE), weight_scale_inv=("F32", (2, 4))),
        Expected("fp8-block", SHAPE, 8, 128),
    ),
    (stored(weight=("I8", SHAPE), SCB=("F32", (N,))), Expected("bitsandbytes-int8", SHAPE, 8, PER_ROW)),
    (
        stored(weight=("U8", (N // 4, K)), weight_scale=ONE_SCALE),
        Expected("bitnet", SHAPE, 2, PER_TENSOR),
    ),
    (
        stored(weight=("I8", SHAPE), weight_scale=ROW_SCALES, weight_offset=ROW_SCALES),
        Expected("modelslim", SHAPE, 8, PER_ROW),
    ),
    (
        stored(weight=("I8", SHAPE), weight_scale=ROW_SCALES),
        Expected("compressed-tensors-int8", SHAPE, 8, PER_ROW),
    ),
    (
        stored(weight=("F8_E4M3", SHAPE), weight_scale=ONE_SCALE),
        Expected("compressed-tensors-fp8", SHAPE, 8, PER_TENSOR),
    ),
    (
        stored(blocks=("U8", (3, N, K // 32, 16)), scales=("U8", (3, N, K // 32))),
        Expected("mxfp4", (3, K, N), 4, 32),
    ),
    (
        stored(weight=("U8", (N * K // 2, 1)), absmax=("F32", (2048,)), __STATE__nf4=("U8", (90,))),
        Expected("bitsandbytes-nf4", SHAPE, 4, 64),
    ),
    (
        stored(weight=("U8", (N * K // 2, 1)), absmax=("F32", (2048,)), __STATE__fp4=("U8", (90,))),
        Expected("bitsandbytes-fp4", SHAPE, 4, 64),
    ),
    (
        stored(weight_packed=("U8", (N, K // 2)), weight_scale=("U8", (N, K // 32))),
        Expected("compressed-tensors-mxfp4", SHAPE, 4, 32),
    ),
    (
        stored("modelopt", weight=("F8_E4M3", SHAPE), weight_scale=("F32", ())),
        Expected("fp8", SHAPE, 8, PER_TENSOR),
    ),
    (
        stored(weight=("U32", (N, K // 8)), scales=("F16", (N, K // 64)), biases=("F16", (N, K // 64))),
        Expected("mlx", SHAPE, 4, 64),
    ),
    (
        stored(weight=("I8", (N // 2, K)), weight_scale=("F32", (N, 1)), scale_bias=("F32", (N, 1))),
        Expected("modelslim-w4", SHAPE, 4, PER_ROW),
    ),
    (
        stored(weight=("I8", (N, K // 2)), scale=("F8_E8M0", (N, K // 32))),
        Expected("mxfp4-pairs", SHAPE, 4, 32),
    ),
    (
        stored(
            weight=("U8", (N, K // 2)), weight_scale=("F8_E4M3", (N, K // 16)), weight_scale_2=("F32", ())
        ),
        Expected("nvfp4", SHAPE, 4, 16),
    ),
    (stored(gguf_q4_1=("U8", (N, K // 32 * 20))), Expected("gguf", SHAPE, 4, 32)),
    (stored(_data=("I8", SHAPE), _scale=("F32", (N, 1))), Expected("quanto", SHAPE, 8, PER_ROW)),
    (
        stored(_weight_qdata=("I8", SHAPE), _weight_scale=("F32", (N, 1))),
        Expected("torchao", SHAPE, 8, PER_ROW),
    ),
]


@pytest.mark.parametrize(("module", "expected"), CASES, ids=[expected.method for _, expected in CASES])
def test_every_layout_is_recognised(module: StoredModule, expected: Expected) -> None:
    assert expected_of(module) == expected


@pytest.mark.parametrize(
    "module",
    [
        stored(qweight=("I32", (N, K // 8)), scales=("F16", (N, 8)), qzeros=("I32", (N, 1))),
        stored(qweight=("I16", (N // 4, K)), scales=("F16", (8, N)), scaled_zeros=("F16", (8, N))),
    ],
    ids=["gemv", "gemv_fast"],
)
def test_awq_has_two_more_layouts(module: StoredModule) -> None:
    assert expected_of(module) == Expected("awq", SHAPE, 4, 128)
    assert [found.method for scheme in SCHEMES if (found := scheme(module)) is not None] == ["awq"]


@pytest.mark.parametrize("part", ["weight_dual_scale", "pre_quant_scale", "svd_lowrank_l1", "lookup_table"])
def test_a_tensor_of_the_weight_that_its_scheme_does_not_know_is_named(part: str) -> None:
    """It would be lost: the formula has no place for it, and it goes with the codes."""
    parts = {"weight": ("I8", SHAPE), "weight_scale": ROW_SCALES, part: ("F32", (N, 1))}
    found = packed_weight(stored(**parts))
    assert found is not None
    assert isinstance(found.made, Fault)
    assert found.made.subject == part


@pytest.mark.parametrize("part", ["input_scale_ub", "input_scale", "k_scale", "weight_zero_point", "bias"])
def test_what_engines_have_a_use_for_is_no_part_of_the_weight(part: str) -> None:
    """input_scale_ub: transformers, integrations/fbgemm_fp8.py; a zero point of 8-bit floats must be zero."""
    found = packed_weight(
        stored(weight=("F8_E4M3", SHAPE), weight_scale=("F32", (N, 1)), **{part: ("F32", (N, 1))})
    )
    assert found is not None
    assert isinstance(found.made, Formula)
    assert [operand.tensor.name for operand in found.made.nil] == [part] * (part == "weight_zero_point")


def test_no_method_is_without_a_case() -> None:
    assert {expected.method for _, expected in CASES} == set(get_args(Method))


@pytest.mark.parametrize(("module", "expected"), CASES, ids=[expected.method for _, expected in CASES])
def test_only_modelslim_shares_its_layout(module: StoredModule, expected: Expected) -> None:
    """The order of the registry matters for this one alone: it adds tensors to what compressed-tensors stores."""
    answers = [found.method for scheme in SCHEMES if (found := scheme(module)) is not None]
    shared = ["compressed-tensors-int8"] if expected.method.startswith("modelslim") else []
    assert answers == [expected.method, *shared]


def test_tensors_that_no_scheme_knows_are_none() -> None:
    assert packed_weight(stored(weight=("BF16", SHAPE), weight_scale=ROW_SCALES)) is None
    assert packed_weight(stored(qweight=("I32", (K // 8, N)))) is None


def test_the_plain_view_needs_no_numpy() -> None:
    program = "import sys, weightsmith.schemes; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
