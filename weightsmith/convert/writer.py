"""Executes a plan: allocates every file, then fills it by positional writes from a few threads."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.errors import CorruptCheckpoint
from weightsmith.values.blocks import BlockReader, grid
from weightsmith.values.parallel import Tally, for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.plan import Plan
    from weightsmith.convert.protocol import Beside, Rows, Step

# A piece of arithmetic: large enough that drawing it costs nothing, small enough that two of them per worker
# (in and out) are a few megabytes.
_PIECE_BYTES = 4 << 20
# A piece of copying inside the kernel: no memory of ours, so larger.
_COPY_BYTES = 64 << 20
# What copy_file_range answers where kernel or file system cannot do it: the bytes then go through memory.
_NO_KERNEL_COPY = frozenset(
    {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one input of one step. first_row: where they go in the step's outputs."""

    step: Step
    rows: Rows
    first_row: int

    @property
    def nbytes(self) -> int:
        return _nbytes(self.rows)


def write_weights(
    plan: Plan,
    source: Checkpoint,
    folder: Path,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fills `folder` with the plan's files. Memory: a few pieces per worker. The files are not yet on the disk.

    Raises OSError when the target cannot take them, CorruptCheckpoint when the source changes underneath,
    ConversionRefused from a kernel. The same plan gives the same bytes whatever the number of workers.
    """
    tally = Tally(plan.bytes_read, progress)
    with ExitStack() as stack:
        targets = {name: _create(folder / name, layout.nbytes, stack) for name, layout in plan.files.items()}
        for name, layout in plan.files.items():
            _write_at(targets[name], layout.header, 0)
        for step in plan.steps:
            if step.data is not None:
                (output,) = step.outputs
                _write_at(targets[plan.file_of[output.name]], step.data, plan.start(output))
        used = {rows.tensor.storage.file for step in plan.steps for rows in step.inputs}
        sources = {name: _open(source.root / name, stack) for name in sorted(used)}
        reader = stack.enter_context(TensorReader(source))

        def new_worker() -> Callable[[Piece], None]:
            readers = BlockReader(reader, _PIECE_BYTES), BlockReader(reader)
            hand = _Hand(plan, *readers, sources, targets)

            def work(piece: Piece) -> None:
                hand.do(piece)
                tally.add(piece.nbytes)

            return work

        for_each(_pieces(plan), new_worker, workers)


def _create(path: Path, nbytes: int, stack: ExitStack) -> int:
    """A new file with its space allocated: a full disk is found now, not after minutes of work."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    stack.callback(os.close, descriptor)
    try:
        os.posix_fallocate(descriptor, 0, nbytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(descriptor, nbytes)
    return descriptor


def _open(path: Path, stack: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def _pieces(plan: Plan) -> Iterator[Piece]:
    """All the work, in the order of the steps, each piece at most a block of rows."""
    for step in plan.steps:
        first = 0
        for rows in step.inputs:
            limit = _COPY_BYTES if step.kernel is None and rows.tensor.contiguous else _PIECE_BYTES
            row_bytes = max(1, grid(rows.tensor)[1] * BITS[rows.tensor.dtype] // 8)
            count = max(1, limit // row_bytes)
            if BITS[rows.tensor.dtype] < 8:
                count = max(1, rows.stop - rows.start)  # rows need not end on a byte: never cut
            count = max(step.together, count // step.together * step.together)
            for start in range(rows.start, rows.stop, count):
                stop = min(start + count, rows.stop)
                yield Piece(step, replace(rows, start=start, stop=stop), first + start - rows.start)
            first += rows.stop - rows.start


def _nbytes(rows: Rows) -> int:
    return ((rows.stop - rows.start) * grid(rows.tensor)[1] * BITS[rows.tensor.dtype] + 7) // 8


@dataclass(frozen=True, slots=True)
class _Hand:
    """One worker: its buffers, and the files of both sides."""

    plan: Plan
    reader: BlockReader
    companions: BlockReader
    sources: dict[str, int]
    targets: dict[str, int]

    def do(self, piece: Piece) -> None:
        if piece.step.kernel is None:
            self._copy(piece)
            return
        block = self.reader.block(piece.rows.tensor, piece.rows.start, piece.rows.stop)
        beside = tuple(self._beside(b, piece.first_row, len(block)) for b in piece.step.beside)
        made = piece.step.kernel((block, *beside), piece.first_row)
        for output, array in zip(piece.step.outputs, made, strict=True):
            self._write(output.name, _flat_bytes(array), piece.first_row * array.nbytes // len(block))

    def _beside(self, beside: Beside, first_row: int, rows: int) -> NDArray[Any]:
        """One row for each row of the stack; a copy, so that the next call may use the buffer again."""
        first, last = first_row // beside.each, (first_row + rows - 1) // beside.each
        held = self.companions.block(beside.tensor, first, last + 1)
        copied: NDArray[Any] = held[np.arange(first_row, first_row + rows) // beside.each - first]
        return copied

    def _copy(self, piece: Piece) -> None:
        (output,) = piece.step.outputs
        tensor = piece.rows.tensor
        before = piece.first_row * grid(tensor)[1] * BITS[tensor.dtype] // 8
        if not tensor.contiguous:
            block = self.reader.block(tensor, piece.rows.start, piece.rows.stop)
            self._write(output.name, _flat_bytes(np.ascontiguousarray(block)), before)
            return
        at = tensor.start + piece.rows.start * grid(tensor)[1] * BITS[tensor.dtype] // 8
        file = self.plan.file_of[output.name]
        to = self.plan.files[file].starts[output.name] + before
        _copy_range(
            self.sources[tensor.storage.file], at, self.targets[file], to, piece.nbytes, tensor.storage.file
        )

    def _write(self, name: str, data: memoryview, before: int) -> None:
        file = self.plan.file_of[name]
        _write_at(self.targets[file], data, self.plan.files[file].starts[name] + before)


def _flat_bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8).data)


def _write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)


def _copy_range(source: int, at: int, target: int, to: int, count: int, name: str) -> None:
    """Bytes from file to file, inside the kernel where it can. Raises CorruptCheckpoint when the source ends early."""
    done = 0
    while done < count:
        try:
            copied = os.copy_file_range(source, target, count - done, at + done, to + done)
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
            copied = _copy_through_memory(source, at + done, target, to + done, count - done)
        if not copied:
            raise CorruptCheckpoint(
                name,
                f"the file changed while it was read: it now ends at byte {at + done:,}",
                "let the download or the writer finish, then try again",
            )
        done += copied


def _copy_through_memory(source: int, at: int, target: int, to: int, count: int) -> int:
    data = os.pread(source, min(count, _PIECE_BYTES), at)
    _write_at(target, data, to)
    return len(data)
