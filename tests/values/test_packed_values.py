"""What packed weights stand for is what is counted, compared and judged, not their codes and scales."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import CorruptCheckpoint
from weightsmith.values.diff import diff
from weightsmith.values.inspection import inspect
from weightsmith.values.value_survey import survey_values

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.arrays import Array

UP = "model.layers.0.mlp.up_proj."
ROWS, COLUMNS = 24, 64


def saved(folder: Path, tensors: dict[str, Array], section: dict[str, object] | None = None) -> Checkpoint:
    folder.mkdir()
    save_file(
        {"model.norm.weight": np.linspace(0.5, 1.5, COLUMNS, dtype=np.float32), **tensors},
        folder / "m.safetensors",
    )
    (folder / "config.json").write_text(json.dumps({"quantization_config": section} if section else {}))
    return open_checkpoint(folder)


def int8(folder: Path, **changes: Array) -> tuple[Checkpoint, Array]:
    """A checkpoint of int8 rows, and what they stand for."""
    random = np.random.default_rng(1)
    codes = random.integers(-128, 128, (ROWS, COLUMNS)).astype(np.int8)
    scale = random.random((ROWS, 1)).astype(np.float32)
    parts = {"weight": codes, "weight_scale": scale, **changes}
    return saved(folder, {UP + name: part for name, part in parts.items()}), codes * scale


def test_a_packed_checkpoint_equals_the_one_that_it_stands_for(tmp_path: Path) -> None:
    packed, exact = int8(tmp_path / "packed")
    plain = saved(tmp_path / "plain", {f"{UP}weight": exact})
    for found, side in ((diff(packed, plain), "a"), (diff(plain, packed), "b")):
        assert (found.verdict, found.only_in_a, found.only_in_b) == ("equal", (), ())
        document = found.document()["packed"]
        assert isinstance(document, dict)
        assert document[side] == "1 weight is packed as compressed-tensors-int8, 8 bits"
        assert (
            next(t for t in found.tensors if t.name == f"{UP}weight").detail
            == f"what the codes of {side} stand for"
        )


def test_a_difference_is_one_of_values(tmp_path: Path) -> None:
    packed, exact = int8(tmp_path / "packed")
    exact[3, 5] += 0.25
    found = diff(saved(tmp_path / "plain", {f"{UP}weight": exact}), packed)
    (changed,) = (t for t in found.tensors if t.status == "differs")
    assert (changed.name, changed.mismatched) == (f"{UP}weight", 1)
    assert changed.max_abs == pytest.approx(0.25, rel=1e-3)


def test_two_packed_checkpoints_are_compared_as_they_are_stored(tmp_path: Path) -> None:
    left, right = int8(tmp_path / "a")[0], int8(tmp_path / "b")[0]
    found = diff(left, right)
    assert (found.verdict, found.undone) == ("identical", False)
    assert all(found.packed)


def test_a_scale_that_is_no_number_ends_the_comparison_in_one_line(tmp_path: Path) -> None:
    scale = np.full((ROWS, 1), np.nan, np.float32)
    packed, exact = int8(tmp_path / "packed", weight_scale=scale)
    with pytest.raises(CorruptCheckpoint, match=r"weight_scale: the scale of row 0 .* NaN"):
        diff(saved(tmp_path / "plain", {f"{UP}weight": exact}), packed)


def test_the_parameters_are_those_of_the_model(tmp_path: Path) -> None:
    words = np.zeros((ROWS, COLUMNS // 8), np.int32)
    parts = {
        "weight_packed": words, "weight_scale": np.ones((ROWS, 2), np.float32),
        "weight_shape": np.array([ROWS, COLUMNS]),
    }  # fmt: skip
    found = inspect(saved(tmp_path / "m", {UP + name: part for name, part in parts.items()}))
    assert found.parameters == ROWS * COLUMNS + COLUMNS
    assert found.quantization is not None
    assert (found.quantization.bits, found.quantization.group_size, found.quantization.symmetric) == (
        4,
        32,
        True,
    )
    summary = found.document()["checkpoint"]
    assert isinstance(summary, dict)
    assert summary["parameters"] == found.parameters


def test_scales_and_zero_points_may_all_be_alike(tmp_path: Path) -> None:
    zeros, ones = np.zeros((ROWS, 4), np.float32), np.ones((ROWS, 4), np.float32)
    assert not survey_values(int8(tmp_path / "m", weight_offset=zeros, weight_scale=ones)[0]).damage
    plain = saved(tmp_path / "plain", {f"{UP}weight": np.zeros((ROWS, COLUMNS), np.float32)})
    assert [fault.tensor for fault in survey_values(plain).damage] == [f"{UP}weight"]
