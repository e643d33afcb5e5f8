"""Blocks that fill a shape read as one tensor, and no others are taken for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.layout import row_major
from weightsmith.checkpoint.table import Checkpoint, Storage, Tensor
from weightsmith.checkpoint.tiling import row_of, rows_of, stacked, tiled, tiling_fault, transposed
from weightsmith.values.blocks import BlockReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

Box = tuple[tuple[int, ...], tuple[int, ...]]
PINWHEEL: list[Box] = [
    ((0, 0), (2, 4)),
    ((0, 4), (4, 2)),
    ((4, 2), (2, 4)),
    ((2, 0), (4, 2)),
    ((2, 2), (2, 2)),
]


@st.composite
def cuts(draw: Callable[..., int], shape: tuple[int, ...]) -> list[Box]:
    """A shape cut in two, and some of the halves again, along any axes."""
    boxes: list[Box] = [((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 6))):
        corner, size = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        at = draw(st.integers(0, size[axis]))
        less = tuple(at if n == axis else s for n, s in enumerate(size))
        rest = tuple(s - at if n == axis else s for n, s in enumerate(size))
        boxes += [(corner, less), (tuple(c + at * (n == axis) for n, c in enumerate(corner)), rest)]
    return boxes


def on_disk(folder: Path, whole: np.ndarray, boxes: list[Box]) -> tuple[Checkpoint, Tensor]:
    """Every block in a file of its own, each second one stored by columns."""
    files, blocks = {}, []
    for number, (corner, size) in enumerate(boxes):
        part = whole[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))]
        by_columns = number % 2 == 1
        data = (part.T if by_columns else part).tobytes()
        (folder / f"{number}").write_bytes(data)
        strides = row_major(size[::-1])[::-1] if by_columns else row_major(size)
        files[f"{number}"] = len(data)
        storage = Storage(f"{number}", 0, len(data))
        blocks.append(Tensor("w", "I32", size, storage, 0, strides, corner=corner))
    tensor = tiled("w", "I32", whole.shape, blocks)
    return Checkpoint(folder, folder, "torch-zip", files, {"w": tensor}, None, {}, ()), tensor


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_tiling_reads_as_the_whole_and_so_do_its_rows(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
    whole = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    boxes = data.draw(cuts(shape))
    table, tensor = on_disk(tmp_path_factory.mktemp("tiles"), whole, boxes)
    start = data.draw(st.integers(0, shape[0]))
    stop = data.draw(st.integers(start, shape[0]))
    step = data.draw(st.integers(1, 3))
    first = data.draw(st.integers(0, whole.size))
    last = data.draw(st.integers(first, whole.size))
    with TensorReader(table) as reader:
        assert np.array_equal(reader.read(tensor), whole)
        assert np.array_equal(reader.read_rows(tensor, start, stop), whole[start:stop])
        assert np.array_equal(reader.read(rows_of(tensor, start, stop, step)), whole[start:stop:step])
        assert np.array_equal(reader.read(row_of(tensor, shape[0] - 1)), whole[-1])
        twice = stacked("twice", [tensor, rows_of(tensor, start, stop, step)])
        assert np.array_equal(reader.read(twice), np.concatenate([whole, whole[start:stop:step]]))
        if len(shape) == 2:
            assert np.array_equal(reader.read(transposed(tensor)), whole.T)
        if first < last:
            read = BlockReader(reader).elements(tensor, first, last)
            assert np.array_equal(read.view(np.int32), whole.reshape(-1)[first:last])


def test_a_tiling_that_no_straight_cut_parts(tmp_path: Path) -> None:
    whole = np.arange(36, dtype=np.int32).reshape(6, 6)
    table, tensor = on_disk(tmp_path, whole, PINWHEEL)
    with TensorReader(table) as reader:
        assert np.array_equal(reader.read(tensor), whole)
        assert np.array_equal(reader.read_rows(tensor, 1, 5), whole[1:5])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_tiling_with_one_block_changed_is_none(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    boxes = data.draw(cuts(shape))
    assert tiling_fault(shape, boxes) is None
    number = data.draw(st.integers(0, len(boxes) - 1))
    corner, size = boxes[number]
    axis = data.draw(st.integers(0, len(shape) - 1))
    by = data.draw(st.integers(1, 3))
    moved = tuple(c + by * (n == axis) for n, c in enumerate(corner))
    wider = tuple(s + by * (n == axis) for n, s in enumerate(size))
    assume(0 not in size and 0 not in wider)
    for instead in ([(moved, size)], [(corner, wider)], [], [(corner, size)] * 2):
        assert tiling_fault(shape, [*boxes[:number], *instead, *boxes[number + 1 :]])


def test_a_gap_and_an_overlap_that_cancel_in_volume_are_seen() -> None:
    assert tiling_fault((4, 4), [((0, 0), (4, 2)), ((0, 1), (4, 2))])
    assert tiling_fault((4,), [((0,), (2,)), ((1,), (2,))])


def test_more_cut_axes_than_any_mesh_has_are_refused_soon() -> None:
    shape = (2,) * 32
    assert tiling_fault(shape, [((0,) * 32, (1,) * 32), ((1,) * 32, (1,) * 32)])


def test_blocks_without_elements_do_not_count() -> None:
    assert tiling_fault((3,), [((0,), (3,)), ((3,), (0,))]) is None
    assert tiling_fault((0, 4), [((0, 0), (0, 4))]) is None
    assert tiling_fault((), [((), ())]) is None
    assert tiling_fault((), []) and tiling_fault((2,), [])
