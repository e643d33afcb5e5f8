"""Streams a tensor's bit patterns through one buffer that fits a core's cache, in whole rows of its grid."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.tiling import row_of, rows_of, stacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.checkpoint.data import TensorReader

# Measured on 2 MiB of L2 per core: 256 KiB to 1 MiB are alike, smaller pays per call, larger leaves the
# cache.
BLOCK_BYTES = 1 << 19
# Rows of a transposed matrix are columns of the stored one: each read takes as many neighbours as a block has rows.
STRIDED_BYTES = 1 << 22


# Columns of the widest weights are some 300,000 (a head over the largest vocabularies). A longer row is no row of a
# weight, and held whole it could take all memory.
LONGEST_ROW = 1 << 22


def grid(tensor: Tensor) -> tuple[int, int]:
    """A tensor as [rows, cols], see `grid_of`."""
    return grid_of(tensor.shape)


def grid_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """A shape as [rows, cols]: leading axes flattened, the last one kept; a vector is one column.

    So is what has rows longer than LONGEST_ROW, whatever its axes: every element is then a row.
    """
    if len(shape) < 2 or shape[-1] > LONGEST_ROW:
        return prod(shape), 1
    return prod(shape[:-1]), shape[-1]


def rows_per_block(tensor: Tensor, block_bytes: int = BLOCK_BYTES) -> int:
    """How many whole rows of `tensor` make a block, a larger one of a strided view; at least one."""
    if not tensor.contiguous:
        block_bytes = max(block_bytes, STRIDED_BYTES)
    row_bytes = max(1, grid(tensor)[1] * BITS[tensor.dtype] // 8)
    return max(1, block_bytes // row_bytes)


def byte_range(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Bytes start:stop of a contiguous tensor's own bytes, as a U8 vector."""
    storage = replace(tensor.storage, start=tensor.start + start, nbytes=stop - start)
    return replace(
        tensor, dtype="U8", shape=(stop - start,), storage=storage, offset=0, strides=(1,), corner=()
    )


def as_bytes(tensor: Tensor) -> Tensor:
    """A tensor whose elements are smaller than a byte, as a U8 vector; such tensors and their pieces are contiguous."""
    if not tensor.pieces:
        return byte_range(tensor, 0, tensor.nbytes)
    return stacked(tensor.name, [as_bytes(piece) for piece in tensor.pieces])


class BlockReader:
    """Reads blocks of tensors of one checkpoint into a buffer of its own: one per thread."""

    def __init__(self, reader: TensorReader, block_bytes: int = BLOCK_BYTES) -> None:
        self._reader = reader
        self._buffer = np.empty(block_bytes, np.uint8)

    def blocks(self, tensor: Tensor, at_most: int | None = None) -> Iterator[tuple[int, Bits]]:
        """(first row, unsigned patterns [rows, cols]) until the tensor is through; a block is valid until the next.

        at_most: read only about so many bytes, in runs of rows spread evenly from the first row to the last.
        """
        step = rows_per_block(tensor, len(self._buffer))
        for start, stop in _runs(tensor, step, at_most):
            yield start, self.block(tensor, start, stop)

    def block(self, tensor: Tensor, start: int, stop: int) -> Bits:
        """Unsigned patterns of rows start:stop of the tensor's grid, as `elements`, whose errors it raises."""
        cols = grid(tensor)[1]
        return self.elements(tensor, start * cols, stop * cols).reshape(stop - start, cols)

    def elements(self, tensor: Tensor, start: int, stop: int, into: NDArray[np.uint8] | None = None) -> Bits:
        """Unsigned patterns of the elements start:stop in row-major order, valid until the next call.

        into: where they are read to, for a contiguous tensor; as many bytes as they have.
        Sub-byte dtypes (F4, F6): ValueError. Raises what `TensorReader.read` raises.
        """
        width = BITS[tensor.dtype] // 8
        if not width:
            raise ValueError(f"{tensor.name}: {tensor.dtype} elements do not fill bytes")
        word, count = np.dtype(f"u{width}"), stop - start
        if not tensor.contiguous:
            parts = [self._reader.read(part).reshape(-1) for part in _parts(tensor, start, stop)]
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
            return whole.view(word)
        if count * width > len(self._buffer):  # a single row longer than a block
            self._buffer = np.empty(count * width, np.uint8)
        run = replace(tensor, shape=(count,), strides=(1,), offset=tensor.offset + start)
        filled = self._buffer[: count * width] if into is None else into
        self._reader.read_bytes_into(run, filled)
        return filled.view(word)


def rows_beside(reader: BlockReader, tensor: Tensor, each: int, rows: int, among: range) -> Bits:
    """One row for each row of another tensor in `among`: row r goes with the `rows` rows of `tensor` from
    (r // each) * rows on, as one long row. A copy; not to be written to.
    """
    first, last = among.start // each, (among.stop - 1) // each
    start, stop = first * rows, (last + 1) * rows
    held = reader.block(tensor, start, min(stop, grid(tensor)[0]))
    if len(held) < stop - start:
        # The last rows go with fewer; what they lack is not looked at.
        held = np.pad(held, ((0, stop - start - len(held)), (0, 0)))
    units: Bits = held.reshape(last + 1 - first, -1)
    if first == last:
        return np.broadcast_to(units.copy(), (len(among), units.shape[1]))
    copied: Bits = units[np.arange(among.start, among.stop) // each - first]
    return copied


def _parts(tensor: Tensor, start: int, stop: int) -> Iterator[Tensor]:
    """Views that hold the elements start:stop of a tensor, one after the other: at most two for each axis.

    Elements are counted in row-major order of the shape, whatever the strides.
    """
    if stop - start == tensor.elements:
        yield tensor
    else:
        yield from _parts_along_rows(tensor, start, stop)


def _parts_along_rows(tensor: Tensor, start: int, stop: int) -> Iterator[Tensor]:
    each = prod(tensor.shape[1:])
    first, last = -(-start // each), stop // each
    if first > last:  # all of it within one index of the first axis
        yield from _parts(row_of(tensor, last), start - last * each, stop - last * each)
        return
    if start < first * each:
        yield from _parts(row_of(tensor, first - 1), start - (first - 1) * each, each)
    if first < last:
        yield rows_of(tensor, first, last)
    if last * each < stop:
        yield from _parts(row_of(tensor, last), 0, stop - last * each)


def _runs(tensor: Tensor, step: int, at_most: int | None) -> Iterator[tuple[int, int]]:
    """Row ranges of at most `step` rows: all of them in order, or a sample of about `at_most` bytes."""
    rows = grid(tensor)[0] if tensor.elements else 0
    if at_most is None or tensor.nbytes <= at_most:
        for start in range(0, rows, step):
            yield start, min(start + step, rows)
        return
    # Sixteen places see a fault that repeats in any sixteenth of the tensor.
    places = 16
    length = max(1, min(step, at_most * rows // tensor.nbytes // places))
    end = 0
    for start in sorted({round((rows - length) * place / (places - 1)) for place in range(places)}):
        if start >= end:
            end = start + length
            yield start, end
