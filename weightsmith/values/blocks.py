"""Streams a tensor's bit patterns through one buffer that fits a core's cache, in whole rows."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.dtypes import BITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.arrays import Array, Bits
    from weightsmith.checkpoint.data import TensorReader

# Measured on 2 MiB of L2 per core: 256 KiB to 1 MiB are alike, smaller pays per call, larger leaves the
# cache.
BLOCK_BYTES = 1 << 19


def grid(tensor: Tensor) -> tuple[int, int]:
    """A tensor as [rows, cols]: leading axes flattened, the last one kept; a vector is one column."""
    if len(tensor.shape) < 2:
        return tensor.elements, 1
    return prod(tensor.shape[:-1]), tensor.shape[-1]


def rows_per_block(tensor: Tensor, block_bytes: int = BLOCK_BYTES) -> int:
    """How many whole rows of `tensor` make a block; at least one."""
    row_bytes = max(1, grid(tensor)[1] * BITS[tensor.dtype] // 8)
    return max(1, block_bytes // row_bytes)


def byte_range(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Bytes start:stop of a contiguous tensor's own bytes, as a U8 vector."""
    storage = replace(tensor.storage, start=tensor.start + start, nbytes=stop - start)
    return replace(tensor, dtype="U8", shape=(stop - start,), storage=storage, offset=0, strides=(1,))


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
        """Unsigned patterns of rows start:stop of the tensor's grid, valid until the next call.

        Sub-byte dtypes (F4, F6): ValueError. Raises what `TensorReader.read` raises.
        """
        width = BITS[tensor.dtype] // 8
        if not width:
            raise ValueError(f"{tensor.name}: {tensor.dtype} elements do not fill bytes")
        word, cols = np.dtype(f"u{width}"), grid(tensor)[1]
        if not tensor.contiguous:
            return self._gather(tensor, start, stop).view(word).reshape(stop - start, cols)
        count = (stop - start) * cols
        if count * width > len(self._buffer):  # a single row longer than a block
            self._buffer = np.empty(count * width, np.uint8)
        run = replace(tensor, shape=(count,), strides=(1,), offset=tensor.offset + start * cols)
        filled = self._buffer[: count * width]
        self._reader.read_bytes_into(run, filled)
        return filled.view(word).reshape(stop - start, cols)

    def packed(self, tensor: Tensor) -> Array:
        """The bytes of a tensor whose elements are smaller than a byte."""
        return self._reader.read(tensor)

    def _gather(self, tensor: Tensor, start: int, stop: int) -> Array:
        """Rows of a strided view, by way of the slices of its first axis that they lie in."""
        if len(tensor.shape) < 2:
            return self._reader.read_rows(tensor, start, stop)
        per_slice = prod(tensor.shape[1:-1])
        first, last = start // per_slice, -(-stop // per_slice)
        slices = self._reader.read_rows(tensor, first, last).reshape(-1, tensor.shape[-1])
        return slices[start - first * per_slice : stop - first * per_slice]


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
