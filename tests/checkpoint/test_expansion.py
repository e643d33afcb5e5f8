"""Checkpoints that stand for more than their files hold: said when they are opened, refused where values are read."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoint import forge
from weightsmith import convert, diff, inspect
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.expansion import ALWAYS_READ, LARGEST_FACTOR, refuse_expanded, refuse_holes
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint

SMALL = ALWAYS_READ // 4  # float32 that are always read


def codes(table):
    return [problem.code for problem in table.problems]


@pytest.fixture
def expanded(tmp_path):
    """Two tensors that stand for ALWAYS_READ + 8 bytes together; neither does alone."""
    path = tmp_path / "source" / "pytorch_model.bin"
    path.parent.mkdir()
    half = forge.tensor((SMALL // 2 + 1,), (0,))
    forge.torch_zip(path, forge.program(forge.dictionary({"a": half, "b": half})))
    return path.parent


def test_it_is_said_and_values_are_not_read(expanded, tmp_path):
    table = open_checkpoint(expanded)
    assert codes(table) == ["expanded"] and f"{ALWAYS_READ + 8:,}" in table.problems[0].message
    assert inspect(expanded, values="sample").survey is not None
    for refused in (
        lambda: inspect(expanded, values="full"),
        lambda: diff(expanded, expanded),
        lambda: convert(expanded, tmp_path / "out"),
    ):
        with pytest.raises(HostileCheckpoint, match="stand for"):
            refused()
    assert not (tmp_path / "out").exists()


def test_tied_weights_and_small_expansions_are_read(tmp_path):
    weight = torch.zeros(1000, 100)
    torch.save({str(n): weight for n in range(LARGEST_FACTOR)}, tmp_path / "pytorch_model.bin")
    torch.save({"mask": torch.zeros(1).expand(SMALL)}, tmp_path / "other.bin")
    for path in (tmp_path / "pytorch_model.bin", tmp_path / "other.bin"):
        table = open_checkpoint(path)
        assert not table.problems
        refuse_expanded(table)


def test_an_unfinished_download_is_refused_before_its_holes_are_read(tmp_path):
    path = forge.safetensors(
        tmp_path / "model.safetensors", {"w": forge.entry("U8", [2 * ALWAYS_READ], 0, 2 * ALWAYS_READ)}
    )
    begin = path.stat().st_size
    os.truncate(path, begin + 2 * ALWAYS_READ)
    table = open_checkpoint(tmp_path)
    with pytest.raises(CorruptCheckpoint, match="holes"):
        refuse_holes(table)
    with pytest.raises(CorruptCheckpoint, match="download it again"):
        inspect(tmp_path, values="full")
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(os.urandom(2 * ALWAYS_READ // LARGEST_FACTOR))
    refuse_holes(table)


def test_small_holes_are_none(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    refuse_holes(open_checkpoint(tmp_path))
