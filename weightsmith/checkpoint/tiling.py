"""Tensors made up of blocks that lie apart: which rectangles fill a shape, and rows of such a tensor as a view.

A block is a Tensor whose `corner` is the index of its first element in the whole. Nothing here reads a byte: rows,
axes and stacks of tiled tensors are tiled tensors again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.layout import row_major

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from weightsmith.checkpoint.table import Tensor

# (corner, shape).
Box: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
# Layers, experts, rows and columns: each is cut at most. Corners are counted in two to the power of these.
_MOST_CUT = 4


def tiling_fault(shape: Sequence[int], boxes: Sequence[Box]) -> str | None:
    """Why boxes do not fill a shape exactly, each element once; None where they do. Boxes without elements count not.

    The number of boxes over each element is a step function, and the differences of a step function at all its corners
    determine it: with sign (-1)^(number of ends among the coordinates), the corners of the boxes must add up to those
    of the whole. That is one pass over the boxes, however they lie.
    """
    boxes = [(corner, size) for corner, size in boxes if 0 not in size]
    if 0 in shape or not shape:
        return None if len(boxes) == (0 if 0 in shape else 1) else "not one block for one element"
    if any(len(corner) != len(shape) or len(size) != len(shape) for corner, size in boxes):
        return "a block has another number of axes"
    axes = [n for n in range(len(shape)) if any(size[n] != shape[n] for _, size in boxes)]
    if len(axes) > _MOST_CUT:
        return f"the blocks are cut along {len(axes)} axes, more than {_MOST_CUT}"
    whole_axes = set(range(len(shape))) - set(axes)
    if any(corner[n] for corner, _ in boxes for n in whole_axes):
        return "a block reaches outside"
    left = _signed_corners([((0,) * len(shape), tuple(shape))], axes)
    left.subtract(_signed_corners(boxes, axes))
    return "the blocks leave gaps or overlap" if any(left.values()) else None


def _signed_corners(boxes: Iterable[Box], axes: Sequence[int]) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for corner, size in boxes:
        for ends in product((0, 1), repeat=len(axes)):
            place = tuple(corner[n] + end * size[n] for n, end in zip(axes, ends, strict=True))
            found[place] += -1 if sum(ends) % 2 else 1
    return found


def tiled(name: str, dtype: str, shape: tuple[int, ...], blocks: Sequence[Tensor]) -> Tensor:
    """One tensor of blocks with corners, at least one. Raises ValueError where they do not fill it, see `tiling_fault`.

    Elements smaller than a byte can be cut along the first axis only: rows then fill whole bytes.
    """
    fault = tiling_fault(shape, [(block.corner, block.shape) for block in blocks])
    if fault:
        raise ValueError(fault)
    if any(block.dtype != dtype for block in blocks):
        raise ValueError("the blocks have different dtypes")
    full = sorted((b for b in blocks if 0 not in b.shape or 0 in shape), key=lambda block: block.corner)
    if BITS[dtype] < 8 and any(block.shape[1:] != shape[1:] for block in full):
        raise ValueError(f"the blocks cut rows of {dtype}")
    return _made_of(replace(full[0], name=name, pieces=()), shape, full)


def rows_of(tensor: Tensor, start: int, stop: int, step: int = 1) -> Tensor:
    """tensor[start:stop:step] along the first axis; start and stop lie in it."""
    count = len(range(start, stop, step))
    if not tensor.pieces:
        offset, stride = tensor.offset + start * tensor.strides[0], tensor.strides[0]
        strides = (stride * step, *tensor.strides[1:])
        return replace(tensor, shape=(count, *tensor.shape[1:]), offset=offset, strides=strides)
    kept = []
    for piece in tensor.pieces:
        first = piece.corner[0]
        # The rows of the result that lie in this piece: the first at or behind its beginning, up to its end.
        begin = max(0, -(-(first - start) // step))
        end = min(count, -(-(first + piece.shape[0] - start) // step))
        if begin < end:
            cut = rows_of(piece, start + begin * step - first, start + (end - 1) * step + 1 - first, step)
            kept.append(replace(cut, corner=(begin, *piece.corner[1:])))
    return _made_of(tensor, (count, *tensor.shape[1:]), kept)


def row_of(tensor: Tensor, index: int) -> Tensor:
    """tensor[index]."""
    return _without_first(rows_of(tensor, index, index + 1))


def _without_first(tensor: Tensor) -> Tensor:
    """A tensor of one row as that row: the first axis, of size 1, is gone."""
    pieces = tuple(
        replace(piece, shape=piece.shape[1:], strides=piece.strides[1:], corner=piece.corner[1:])
        for piece in tensor.pieces
    )
    return replace(tensor, shape=tensor.shape[1:], strides=tensor.strides[1:], pieces=pieces)


def stacked(name: str, parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """The parts, one behind the other along an axis. Raises ValueError where dtypes or other axes differ."""
    first = parts[0]
    if len(parts) == 1:
        return replace(first, name=name)
    other = [size for n, size in enumerate(first.shape) if n != axis]
    if any([size for n, size in enumerate(part.shape) if n != axis] != other for part in parts):
        raise ValueError("parts of different shapes")
    blocks, begin = [], 0
    for part in parts:
        for piece in part.pieces or (replace(part, corner=(0,) * len(part.shape)),):
            corner = tuple(at + (begin if n == axis else 0) for n, at in enumerate(piece.corner))
            blocks.append(replace(piece, corner=corner))
        begin += part.shape[axis]
    shape = tuple(begin if n == axis else size for n, size in enumerate(first.shape))
    return tiled(name, first.dtype, shape, blocks)


def transposed(tensor: Tensor) -> Tensor:
    """A matrix with its two axes exchanged."""
    pieces = tuple(
        replace(piece, shape=piece.shape[::-1], strides=piece.strides[::-1], corner=piece.corner[::-1])
        for piece in tensor.pieces
    )
    strides = row_major(tensor.shape[::-1]) if pieces else tensor.strides[::-1]
    return replace(tensor, shape=tensor.shape[::-1], strides=strides, pieces=pieces)


def _made_of(like: Tensor, shape: tuple[int, ...], blocks: Sequence[Tensor]) -> Tensor:
    if len(blocks) == 1 and blocks[0].shape == shape:
        return replace(blocks[0], name=like.name, corner=())
    first = blocks[0] if blocks else like
    return replace(
        like,
        shape=shape,
        storage=first.storage,
        offset=first.offset,
        strides=row_major(shape),
        pieces=tuple(blocks),
    )


def unflattened(name: str, shape: tuple[int, ...], runs: Sequence[Tensor]) -> Tensor:
    """The tensor whose elements, in row-major order, are those of the runs one behind the other.

    runs: vectors without gaps, which may end anywhere in a row. Raises ValueError where they have more or fewer
    elements than the shape, or another dtype each.
    """
    if sum(run.shape[0] for run in runs) != prod(shape):
        raise ValueError(f"runs of {sum(run.shape[0] for run in runs):,} elements for {prod(shape):,}")
    blocks, begin = [], 0
    for run in runs:
        for first, corner, size in boxes_of_run(shape, begin, begin + run.shape[0]):
            offset = run.offset + first - begin
            block = replace(run, name=name, shape=size, offset=offset, strides=row_major(size), corner=corner)
            blocks.append(block)
        begin += run.shape[0]
    return tiled(name, runs[0].dtype, shape, blocks)


def boxes_of_run(
    shape: tuple[int, ...], start: int, stop: int
) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """(first element, corner, size) of boxes that hold the elements start:stop in row-major order, at most two for
    each axis and one more. The elements of each follow each other in that order.
    """
    if start >= stop:
        return
    each = prod(shape[1:])
    if not shape or stop - start == prod(shape):
        yield start, (0,) * len(shape), shape
        return
    first, last = -(-start // each), stop // each
    if first > last:  # all of it within one row
        yield from _boxes_of_row(shape, last, start, stop)
        return
    yield from _boxes_of_row(shape, first - 1, start, first * each)
    if first < last:
        yield first * each, (first, *(0,) * (len(shape) - 1)), (last - first, *shape[1:])
    yield from _boxes_of_row(shape, last, last * each, stop)


def _boxes_of_row(
    shape: tuple[int, ...], index: int, start: int, stop: int
) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    before = index * prod(shape[1:])
    for first, corner, size in boxes_of_run(shape[1:], start - before, stop - before):
        yield before + first, (index, *corner), (1, *size)
