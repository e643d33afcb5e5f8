"""Executes a plan: allocates every file, then fills, hashes and syncs it, from a few threads."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.convert.front import Front
from weightsmith.convert.sealing import syncing
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
# Of a copy, what is read, hashed and written at once: stays in a core's second-level cache. Measured per GB on ext4,
# in seconds of processor time: 0.34 by copy_file_range and 0.35 so, and then the hash need not read it again.
_COPY_BYTES = 1 << 20


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
    hash_name: str,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Fills `folder` with the plan's files, on the disk; file -> hash. Memory: a few pieces per worker.

    Raises OSError when the target cannot take them, CorruptCheckpoint when the source changes underneath,
    ConversionRefused from a kernel. The same plan gives the same bytes whatever the number of workers.
    """
    tally = Tally(plan.bytes_read, progress)
    with ExitStack() as stack:
        targets = {
            name: Target.create(folder / name, layout.nbytes, hash_name, stack)
            for name, layout in plan.files.items()
        }
        for name, layout in plan.files.items():
            targets[name].write(memoryview(layout.header), 0)
        for step in plan.steps:
            if step.data is not None:
                (output,) = step.outputs
                targets[plan.file_of[output.name]].write(memoryview(step.data), plan.start(output))
        used = {file for step in plan.steps for rows in step.inputs for file in rows.tensor.files}
        sources = {name: _open(source.root / name, stack) for name in sorted(used)}
        reader = stack.enter_context(TensorReader(source))

        def new_worker() -> Callable[[Piece], None]:
            readers = BlockReader(reader, _PIECE_BYTES), BlockReader(reader)
            hand = _Hand(plan, *readers, sources, targets, bytearray(_COPY_BYTES))

            def work(piece: Piece) -> None:
                hand.do(piece)
                tally.add(piece.nbytes)

            return work

        with syncing([target.descriptor for target in targets.values()]):
            for_each(_pieces(plan), new_worker, workers)
        return {name: targets[name].front.digest(layout.nbytes) for name, layout in plan.files.items()}


@dataclass(frozen=True, slots=True)
class Target:
    """A file that is being written, and its hash so far."""

    descriptor: int
    front: Front

    @staticmethod
    def create(path: Path, nbytes: int, hash_name: str, stack: ExitStack) -> Target:
        descriptor = _create(path, nbytes, stack)
        return Target(descriptor, Front(descriptor, hash_name))

    def write(self, data: memoryview, offset: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self.descriptor, data[done:], offset + done)
        self.front.wrote(offset, data)


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
    """All the work, in the order of the files' bytes, so that they can be hashed on the way; a block of rows each."""
    files = {name: number for number, name in enumerate(plan.files)}
    working = [step for step in plan.steps if step.inputs]
    working.sort(key=lambda step: (files[plan.file_of[step.outputs[0].name]], plan.start(step.outputs[0])))
    for step in working:
        first = 0
        for rows in step.inputs:
            row_bytes = max(1, grid(rows.tensor)[1] * BITS[rows.tensor.dtype] // 8)
            count = max(1, _PIECE_BYTES // row_bytes)
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
    targets: dict[str, Target]
    buffer: bytearray

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
        descriptor = self.sources[tensor.storage.file]
        view = memoryview(self.buffer)
        done = 0
        while done < piece.nbytes:
            wanted = min(len(view), piece.nbytes - done)
            count = os.preadv(descriptor, [view[:wanted]], at + done)
            if not count:
                raise CorruptCheckpoint(
                    tensor.storage.file,
                    f"the file changed while it was read: it now ends at byte {at + done:,}",
                    "let the download or the writer finish, then try again",
                )
            self._write(output.name, view[:count], before + done)
            done += count

    def _write(self, name: str, data: memoryview, before: int) -> None:
        file = self.plan.file_of[name]
        self.targets[file].write(data, self.plan.files[file].starts[name] + before)


def _flat_bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8).data)
