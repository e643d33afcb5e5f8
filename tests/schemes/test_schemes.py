"""Each scheme knows its own layout, and no other takes it for its own. Whole checkpoints: tests/shapes/test_packed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args

import pytest
from weightsmith.schemes.fp8_block import block_size

from weightsmith.checkpoint import Storage, Tensor
from weightsmith.checkpoint.layout import row_major
from weightsmith.schemes.packed_module import PER_ROW, PER_TENSOR, Method, PackedWeight, StoredModule
from weightsmith.schemes.registry import SCHEMES, packed_weight

N, K = 256, 512
SHAPE = (N, K)
STATE = json.dumps({"shape": [N, K]}).encode()


def stored(**parts: tuple[str, tuple[int, ...]]) -> StoredModule:
    """A module's tensors by last name: dtype and shape."""
    tensors = {
        name.replace("__STATE__", "bitsandbytes__"): Tensor(
            name, dtype, shape, Storage("f", 0, 0), 0, row_major(shape)
        )
        for name, (dtype, shape) in parts.items()
    }
    return StoredModule(tensors, frozenset({N, K}), lambda _: STATE)


ROW_SCALES, ONE_SCALE = ("BF16", (N, 1)), ("BF16", (1,))
# (the tensors, the weight that they stand for); groups of 128 channels where there are groups.
CASES: list[tuple[StoredModule, PackedWeight]] = [
    (
        stored(qweight=("I32", (K // 8, N)), scales=("F16", (4, N)), qzeros=("I32", (4, N // 8))),
        PackedWeight("gptq", SHAPE, 4, 128),
    ),
    (
        stored(qweight=("I32", (K, N // 8)), scales=("F16", (4, N)), qzeros=("I32", (4, N // 8))),
        PackedWeight("awq", SHAPE, 4, 128),
    ),
    (
        stored(weight_packed=("I32", (N, K // 8)), weight_scale=("BF16", (N, 4))),
        PackedWeight("compressed-tensors-packed", SHAPE, 4, 128),
    ),
    (
        stored(weight_packed=("U8", (N, K // 2)), weight_scale=("F8_E4M3", (N, K // 16))),
        PackedWeight("compressed-tensors-nvfp4", SHAPE, 4, 16),
    ),
    (
        stored(weight=("F8_E4M3", SHAPE), weight_scale_inv=("F32", (2, 4))),
        PackedWeight("fp8-block", SHAPE, 8, 128),
    ),
    (stored(weight=("I8", SHAPE), SCB=("F32", (N,))), PackedWeight("bitsandbytes-int8", SHAPE, 8, PER_ROW)),
    (
        stored(weight=("U8", (N // 4, K)), weight_scale=ONE_SCALE),
        PackedWeight("bitnet", SHAPE, 2, PER_TENSOR),
    ),
    (
        stored(weight=("I8", SHAPE), weight_scale=ROW_SCALES, weight_offset=ROW_SCALES),
        PackedWeight("modelslim", SHAPE, 8, PER_ROW),
    ),
    (
        stored(weight=("I8", SHAPE), weight_scale=ROW_SCALES),
        PackedWeight("compressed-tensors-int8", SHAPE, 8, PER_ROW),
    ),
    (
        stored(weight=("F8_E4M3", SHAPE), weight_scale=ONE_SCALE),
        PackedWeight("compressed-tensors-fp8", SHAPE, 8, PER_TENSOR),
    ),
    (
        stored(blocks=("U8", (3, N, K // 32, 16)), scales=("U8", (3, N, K // 32))),
        PackedWeight("mxfp4", (3, K, N), 4, 32),
    ),
    (
        stored(weight=("U8", (N * K // 2, 1)), absmax=("F32", (2048,)), __STATE__nf4=("U8", (90,))),
        PackedWeight("bitsandbytes-nf4", SHAPE, 4, 0),
    ),
    (
        stored(weight=("U8", (N * K // 2, 1)), absmax=("F32", (2048,)), __STATE__fp4=("U8", (90,))),
        PackedWeight("bitsandbytes-fp4", SHAPE, 4, 0),
    ),
]


@pytest.mark.parametrize(("module", "expected"), CASES, ids=[expected.method for _, expected in CASES])
def test_every_layout_is_recognised(module: StoredModule, expected: PackedWeight) -> None:
    assert packed_weight(module) == expected


def test_no_method_is_without_a_case() -> None:
    assert {expected.method for _, expected in CASES} == set(get_args(Method))


@pytest.mark.parametrize(("module", "expected"), CASES, ids=[expected.method for _, expected in CASES])
def test_only_modelslim_shares_its_layout(module: StoredModule, expected: PackedWeight) -> None:
    """The order of the registry matters for this one alone: it adds a tensor to what compressed-tensors stores."""
    answers = [found.method for scheme in SCHEMES if (found := scheme(module)) is not None]
    shared = ["compressed-tensors-int8"] if expected.method == "modelslim" else []
    assert answers == [expected.method, *shared]


def test_tensors_that_no_scheme_knows_are_none() -> None:
    assert packed_weight(stored(weight=("BF16", SHAPE), weight_scale=ROW_SCALES)) is None
    assert packed_weight(stored(qweight=("I32", (K // 8, N)))) is None


@pytest.mark.parametrize(
    ("width", "blocks", "size"), [(512, 4, 128), (576, 5, 128), (512, 1, 4096), (512, 3, 0)]
)
def test_the_block_size_follows_from_the_number_of_blocks(width: int, blocks: int, size: int) -> None:
    assert block_size(width, blocks) == size


def test_the_plain_view_needs_no_numpy() -> None:
    program = "import sys, weightsmith.schemes; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
