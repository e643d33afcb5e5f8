"""The only place that reads tensor data: bytes at an offset, as numpy arrays of the right dtype. No torch."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.dtypes import BITS, TORCH_NAMES
from weightsmith.checkpoint.file_bytes import ByteFile, too_big
from weightsmith.checkpoint.layout import span
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.place import open_file
from weightsmith.checkpoint.tiling import rows_of
from weightsmith.errors import CorruptCheckpoint, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

    from weightsmith.checkpoint.arrays import Array, ArrayType
    from weightsmith.checkpoint.table import Checkpoint, Tensor

# The other types of a whole number of bytes are those of ml_dtypes.
_OF_NUMPY = frozenset(
    {"bool", "uint8", "int8", "int16", "uint16", "float16", "int32", "uint32", "float32", "complex64", "float64",
     "int64", "uint64"}
)  # fmt: skip


@cache
def numpy_dtype(dtype: str) -> ArrayType:
    """The numpy dtype of a safetensors dtype; sub-byte types (F4, F6) are packed bytes, uint8."""
    name = TORCH_NAMES.get(dtype)
    if name is None or BITS[dtype] < 8:
        return np.dtype("u1")
    if name in _OF_NUMPY:
        return np.dtype(name).newbyteorder("<")
    import ml_dtypes

    found: ArrayType = np.dtype(getattr(ml_dtypes, name))
    return found


# A view whose bytes fill this part of what it spans is read at once. Of others, so many bytes take as long as one read
# more, and so many are held at most.
_SPARSEST, _COST_OF_A_READ, _MOST_READ_OVER = 4, 1 << 15, 32 << 20
# Checkpoints come in hundreds of shards, and a process may often open 256 files.
_MOST_OPEN = 16
_WITH_ZIPS = ("torch-zip", "mixed")


class TensorReader:
    """Reads the tensors of one checkpoint. Opens a file when needed, keeps a few; several threads may share it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._files: dict[str, ByteFile] = {}  # the one used last is last
        self._readers: dict[str, int] = {}
        self._lock = Lock()
        self._proven: set[str] = set()

    def __enter__(self) -> TensorReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every file; a later read opens them again."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def read(self, tensor: Tensor) -> Array:
        """The tensor as an own contiguous array of its shape, whatever its strides.

        Sub-byte dtypes (F4, F6) come as a flat uint8 array of their packed bytes. Memory: the tensor, and for
        a strided view four times its bytes more.
        Raises CorruptCheckpoint when the file has changed, WeightsmithError when there is not enough memory.
        """
        if tensor.pieces:
            return self._joined(tensor)
        dtype = numpy_dtype(tensor.dtype)
        with self._open(tensor) as file:
            array = _read(tensor, dtype, file)
        if tensor.dtype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
            raise CorruptCheckpoint(
                file.subject,
                f"tensor {quoted(tensor.name)} is BOOL but holds bytes other than 0 and 1",
                "the data is damaged; download it again",
            )
        return array

    def read_rows(self, tensor: Tensor, start: int, stop: int) -> Array:
        """`read(tensor)[start:stop]` along axis 0, reading only the bytes of those rows.

        Sub-byte dtypes: rows must fill whole bytes. Raises as `read`; ValueError for rows outside the tensor.
        """
        if not tensor.shape or not 0 <= start <= stop <= tensor.shape[0]:
            raise ValueError(f"rows {start}:{stop} of a tensor of shape {tensor.shape}")
        wanted = rows_of(tensor, start, stop)
        bits = BITS[tensor.dtype]
        if bits < 8 and any(p.offset * bits % 8 or p.elements * bits % 8 for p in wanted.pieces or (wanted,)):
            raise WeightsmithError(
                tensor.storage.file,
                f"rows {start}:{stop} of tensor {quoted(tensor.name)} do not fill whole bytes",
                "read the whole tensor",
            )
        return self.read(wanted)

    def read_bytes_into(self, tensor: Tensor, buffer: bytearray | memoryview | mmap | Array) -> None:
        """Fills the writable `buffer` of exactly `tensor.nbytes` bytes with a contiguous tensor's bytes.

        Raises as `read`; ValueError for a strided tensor or a buffer of another size.
        """
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type] # arrays are buffers before 3.12 too
        if not tensor.contiguous or view.nbytes != tensor.nbytes:
            raise ValueError(
                f"{tensor.name}: needs a contiguous tensor and a buffer of {tensor.nbytes} bytes"
            )
        with self._open(tensor) as file:
            file.read_into(tensor.start, view)

    def _joined(self, tensor: Tensor) -> Array:
        """The blocks as one array. Memory: the tensor and its largest block."""
        if BITS[tensor.dtype] < 8:  # whole rows, see `tiled`
            return np.concatenate([self.read(piece) for piece in tensor.pieces])
        whole = np.empty(tensor.shape, numpy_dtype(tensor.dtype))
        for piece in tensor.pieces:
            place = tuple(slice(at, at + size) for at, size in zip(piece.corner, piece.shape, strict=True))
            whole[place] = self.read(piece)
        return whole

    @contextmanager
    def _open(self, tensor: Tensor) -> Iterator[ByteFile]:
        """The tensor's file, which stays open for the block at least."""
        name = tensor.storage.file
        with self._lock:
            file = self._files.pop(name, None)
            if file is None:
                self._close_idle(_MOST_OPEN - 1)
                file = self._opened(name)
            self._files[name] = file
            self._readers[name] = self._readers.get(name, 0) + 1
        try:
            yield file
        finally:
            with self._lock:
                self._readers[name] -= 1

    def _close_idle(self, most: int) -> None:
        """Closes files that nobody reads, those used longest ago first, until at most so many are open."""
        idle = [name for name in self._files if not self._readers[name]]
        for name in idle[: max(0, len(self._files) - most)]:
            self._files.pop(name).close()

    def _opened(self, name: str) -> ByteFile:
        file = open_file(self._checkpoint.root / name, name)
        stated = self._checkpoint.files[name]
        if file.size != stated:
            file.close()
            raise CorruptCheckpoint(
                file.subject,
                f"the file changed: it has {file.size:,} bytes, not the {stated:,} of before",
                "let the download or the writer finish, then try again",
            )
        if file.costly and self._checkpoint.format in _WITH_ZIPS and name not in self._proven:
            from weightsmith.checkpoint.torch_zip import need_as_read

            need_as_read(file)
            self._proven.add(name)
        return file


def _read(tensor: Tensor, dtype: ArrayType, file: ByteFile) -> Array:
    try:
        if tensor.contiguous:
            shape = tensor.shape if BITS[tensor.dtype] >= 8 else (tensor.nbytes,)
            array = np.empty(shape, dtype)
            file.read_into(tensor.start, _bytes_of(array))
            return array
        array = np.empty(tensor.shape, dtype)
        _read_strided(tensor, file, array)
        return array
    except (MemoryError, ValueError) as error:
        raise too_big(file.subject, f"tensor {quoted(tensor.name)}", tensor.nbytes) from error


def _read_strided(tensor: Tensor, file: ByteFile, out: Array) -> None:
    """Fills `out` from a view: at once with what lies between its elements, or else one half of its widest axis after
    the other.

    Few elements may span a whole storage. What is read stays within _SPARSEST times the view's own bytes, or costs no
    more than a read for each index of that axis.
    """
    nbytes = span(tensor.shape, tensor.strides) * out.itemsize
    if not nbytes:
        return
    widths = [(size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)]
    axis = widths.index(max(widths)) if widths else 0
    count = tensor.shape[axis] if widths else 1
    if count == 1 or nbytes <= max(_SPARSEST * out.nbytes, min(count * _COST_OF_A_READ, _MOST_READ_OVER)):
        flat = np.empty(nbytes // out.itemsize, out.dtype)
        file.read_into(tensor.start, _bytes_of(flat))
        strides = [stride * out.itemsize for stride in tensor.strides]
        out[...] = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
        return
    for start, stop in ((0, count // 2), (count // 2, count)):
        shape = (*tensor.shape[:axis], stop - start, *tensor.shape[axis + 1 :])
        part = replace(tensor, shape=shape, offset=tensor.offset + start * tensor.strides[axis])
        _read_strided(part, file, out[(slice(None),) * axis + (slice(start, stop),)])


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
