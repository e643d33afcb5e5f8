"""Blocks are the tensor, whatever its strides, pieces and the length of its rows; memory is bounded."""

from __future__ import annotations

import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.checkpoint import forge
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.tiling import stacked
from weightsmith.values import blocks
from weightsmith.values.blocks import BlockReader, grid, grid_of

STORED = torch.arange(3000, dtype=torch.float32)


def view_of(tensor, table, shape, strides, offset=0):
    """Another view on the storage of `tensor`."""
    return replace(table.tensors[tensor], shape=shape, strides=strides, offset=offset)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    save_file({"w": STORED}, folder / "model.safetensors")
    return open_checkpoint(folder)


def joined(table, tensor, block_bytes=64, **how):
    with TensorReader(table) as reader:
        found = [(row, part.copy()) for row, part in BlockReader(reader, block_bytes).blocks(tensor, **how)]
    rows = [row for row, _ in found]
    assert rows == [sum(len(part) for _, part in found[:i]) for i in range(len(found))]
    return np.concatenate([part for _, part in found]).view(np.float32)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    strides=st.lists(st.integers(0, 120), min_size=4, max_size=4),
    longest=st.sampled_from([2, 4, 1 << 22]),
    strided=st.sampled_from([1, 40, 1 << 22]),
    cheap=st.sampled_from([1, 1 << 15]),
)
def test_blocks_of_any_view_are_the_view(table, shape, strides, longest, strided, cheap):
    strides = tuple(strides[: len(shape)])
    wanted = torch.as_strided(STORED, shape, strides, 5).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "LONGEST_ROW", longest)
        patch.setattr(blocks, "STRIDED_BYTES", strided)
        patch.setattr("weightsmith.checkpoint.data._COST_OF_A_READ", cheap)
        tensor = view_of("w", table, shape, strides, 5)
        found = joined(table, tensor)
        assert found.shape == grid(tensor)
    assert np.array_equal(found.reshape(shape), wanted)


@pytest.mark.parametrize("longest", [3, 1 << 22])
def test_a_tensor_in_pieces_is_read_across_them(table, monkeypatch, longest):
    monkeypatch.setattr(blocks, "LONGEST_ROW", longest)
    monkeypatch.setattr(blocks, "STRIDED_BYTES", 1)
    pieces = tuple(
        view_of("w", table, (rows, 7), (7, 1), start) for rows, start in ((2, 70), (1, 0), (4, 700))
    )
    whole = stacked("w", pieces)
    wanted = np.concatenate(
        [np.arange(start, start + rows * 7) for rows, start in ((2, 70), (1, 0), (4, 700))]
    )
    assert np.array_equal(joined(table, whole).reshape(-1), wanted)


def test_the_grid_keeps_rows_of_weights_and_cuts_what_is_longer():
    assert grid_of((4, 300_000)) == (4, 300_000) and grid_of((2, 3, 5)) == (6, 5)
    assert grid_of((7,)) == (7, 1) and grid_of(()) == (1, 1)
    assert grid_of((3, (1 << 22) + 1)) == (3 * ((1 << 22) + 1), 1)


def test_a_row_of_a_gigabyte_takes_a_few_megabytes(tmp_path):
    path = forge.safetensors(
        tmp_path / "model.safetensors", {"w": forge.entry("U8", [1, 1 << 30], 0, 1 << 30)}
    )
    os.truncate(path, path.stat().st_size + (1 << 30))
    table = open_checkpoint(tmp_path)
    tracemalloc.start()
    try:
        with TensorReader(table) as reader:
            assert sum(part.size for _, part in BlockReader(reader).blocks(table.tensors["w"])) == 1 << 30
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_few_numbers_that_span_a_gigabyte_are_read_one_by_one(tmp_path):
    path = tmp_path / "model.safetensors"
    forge.safetensors(path, {"w": forge.entry("F32", [1 << 28], 0, 1 << 30)})
    os.truncate(path, path.stat().st_size + (1 << 30))
    table = open_checkpoint(tmp_path)
    far = view_of("w", table, (16, 16), (1 << 24, 1 << 20))
    tracemalloc.start()
    try:
        with TensorReader(table) as reader:
            assert reader.read(far).shape == (16, 16)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
