"""A weight is made in pieces of a few rows, wherever these begin: what goes along with them is found for each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.schemes.storing import made, stored
from weightsmith.convert import convert
from weightsmith.convert.stream import pieces

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint.arrays import Array

RANDOM = np.random.default_rng(7)
UNIT = RANDOM.random


def words(*shape: int) -> Array:
    return RANDOM.integers(-(2**31), 2**31, shape).astype(np.int32)


def small(*shape: int) -> Array:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def half(*shape: int) -> Array:
    return UNIT(shape).astype(np.float16)


GPTQ = {"quant_method": "gptq", "bits": 3}
BITNET = {"quant_method": "bitnet"}
CASES: dict[str, tuple[dict[str, Array], dict[str, object]]] = {
    "awq": ({"qweight": words(64, 5), "qzeros": words(2, 5), "scales": half(2, 40)}, {}),
    "gptq, 3 bits": (
        {"qweight": words(6, 64), "qzeros": words(2, 6), "scales": half(2, 64),
         "g_idx": RANDOM.permutation(np.arange(64) // 32).astype(np.int32)},
        GPTQ,
    ),
    "compressed-tensors, 3 bits, zero points that fill no word": (
        {"weight_packed": words(13, 6), "weight_scale": half(13, 2), "weight_shape": np.array([13, 64]),
         "weight_zero_point": words(2, 2)},
        {},
    ),
    "bitnet": ({"weight": small(6, 16) & 0x55, "weight_scale": np.array([0.5], np.float32)}, BITNET),
    "modelslim, two rows in one": (
        {"weight": small(6, 64).view(np.int8), "weight_scale": UNIT((12, 1)).astype(np.float32),
         "weight_scale_second": UNIT((12, 2)).astype(np.float32), "scale_bias": np.ones((12, 1), np.float32)},
        {},
    ),
    "mxfp4": ({"weight": small(9, 32), "weight_scale": small(9, 2) // 4 + 90}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_pieces_of_any_size_make_the_same_weight(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, section = CASES[case]
    monkeypatch.setattr(pieces, "PIECE_BYTES", 100)
    source = tmp_path / "source"
    source.mkdir()
    save_file({f"m.{name}": array for name, array in arrays.items()}, source / "model.safetensors")
    (source / "config.json").write_text(json.dumps({"quantization_config": section} if section else {}))
    convert(source, tmp_path / "out", dtype="float32", workers=2)
    found = load_file(tmp_path / "out/model.safetensors")
    assert found.keys() == {"m.weight"}
    assert np.array_equal(found["m.weight"], made(stored(arrays, section), arrays))
