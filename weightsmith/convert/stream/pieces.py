"""Cuts a plan's work into pieces of a few megabytes, in the order of the output's bytes, and makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weightsmith.checkpoint.dtypes import BITS
from weightsmith.values.blocks import byte_range, grid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from weightsmith.checkpoint import Tensor
    from weightsmith.convert.plan.output_plan import Plan
    from weightsmith.convert.protocol import Beside, Rows, Step
    from weightsmith.values.blocks import BlockReader

# Of arithmetic: large enough that its steps, and waiting for its turn, cost little beside it. Of a copy: the disk's
# threads then always have something, and nothing lies long enough to leave a cache. Measured on two cores, 3.2 GB:
# arithmetic 3.1 s with 2 MiB, 2.9 with 8, 3.0 with 16; copies 2.1 s with 2 MiB, 2.4 with 4 and 8.
PIECE_BYTES = 8 << 20
COPY_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Made:
    """Bytes of an output file, from byte `start` on."""

    file: str
    start: int
    data: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Read:
    """Bytes of a source file, from byte `start` on."""

    file: str
    start: int
    data: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Done:
    """What a piece gives to the output, and what of the source it was made of; valid until its hand's next piece.

    read: None where the source's bytes do not lie together.
    """

    made: tuple[Made, ...]
    read: Read | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """Bytes that are known from the plan: a header, or a tensor made of no other."""

    made: Made
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes of one contiguous tensor that go to an output file as they are. tensor: cut to these, as U8."""

    file: str
    start: int
    tensor: Tensor

    @property
    def nbytes(self) -> int:
        return self.tensor.nbytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one input of one step. first_row: where they go in the step's outputs."""

    step: Step
    rows: Rows
    first_row: int

    @property
    def nbytes(self) -> int:
        """Of the source."""
        return (_bits(self.rows.tensor, self.rows.stop - self.rows.start) + 7) // 8


def pieces(plan: Plan, done: Collection[str] = ()) -> Iterator[Given | Copy | Piece]:
    """All the work, in the order of the files and of their bytes; but what only goes into the files `done`."""
    for file, steps in _steps_by_file(plan).items():
        if file not in done:
            yield Given(Made(file, 0, _bytes(plan.files[file].header)))
        for step in steps:
            if any(plan.file_of[output.name] not in done for output in step.outputs):
                yield from _of_step(step, file, plan.start(step.outputs[0]))


def stretches(plan: Plan) -> Iterator[tuple[str, int, int]]:
    """(file, start, stop) of the source's bytes in the order in which the pieces read them."""
    for steps in _steps_by_file(plan).values():
        for rows in (rows for step in steps for rows in step.inputs):
            start = rows.tensor.start + _bits(rows.tensor, rows.start) // 8
            stop = rows.tensor.start + (_bits(rows.tensor, rows.stop) + 7) // 8
            # A strided view has its bytes anywhere: nothing comes before them.
            yield rows.tensor.storage.file, start if rows.tensor.contiguous else -1, stop


def _steps_by_file(plan: Plan) -> dict[str, list[Step]]:
    """The work that begins in each file, in the order of its bytes."""
    steps: dict[str, list[Step]] = {file: [] for file in plan.files}
    for step in plan.steps:
        steps[plan.file_of[step.outputs[0].name]].append(step)
    for begun in steps.values():
        begun.sort(key=lambda step: plan.start(step.outputs[0]))
    return steps


def _of_step(step: Step, file: str, start: int) -> Iterator[Given | Copy | Piece]:
    if step.data is not None:
        yield Given(Made(file, start, _bytes(step.data)))
    first = 0
    for rows in step.inputs:
        if step.kernel is None and rows.tensor.contiguous:
            yield from _copies(rows, file, start + _bits(rows.tensor, first) // 8)
        else:
            yield from _rows(step, rows, first)
        first += rows.stop - rows.start


def _copies(rows: Rows, file: str, start: int) -> Iterator[Copy]:
    begin, end = _bits(rows.tensor, rows.start) // 8, (_bits(rows.tensor, rows.stop) + 7) // 8
    for at in range(begin, end, COPY_BYTES):
        yield Copy(file, start + at - begin, byte_range(rows.tensor, at, min(at + COPY_BYTES, end)))


def _rows(step: Step, rows: Rows, first: int) -> Iterator[Piece]:
    if BITS[rows.tensor.dtype] < 8:
        count = max(1, rows.stop - rows.start)  # rows need not end on a byte: never cut
    else:
        count = max(1, PIECE_BYTES * 8 // max(1, _bits(rows.tensor, 1)))
    count = max(step.together, count // step.together * step.together)
    for start in range(rows.start, rows.stop, count):
        stop = min(start + count, rows.stop)
        yield Piece(step, replace(rows, start=start, stop=stop), first + start - rows.start)


def _bits(tensor: Tensor, rows: int) -> int:
    return rows * grid(tensor)[1] * BITS[tensor.dtype]


@dataclass(frozen=True, slots=True)
class Hand:
    """One worker: the buffers from which it reads the rows of a stack, those beside it, and bytes to copy."""

    plan: Plan
    reader: BlockReader
    companions: BlockReader

    def do(self, piece: Given | Copy | Piece) -> Done:
        """Raises what reading and kernels raise."""
        if isinstance(piece, Given):
            return Done((piece.made,))
        if isinstance(piece, Copy):
            data = self.reader.block(piece.tensor, 0, piece.nbytes)[:, 0]
            read = Read(piece.tensor.storage.file, piece.tensor.start, data)
            return Done((Made(piece.file, piece.start, data),), read)
        return self._compute(piece)

    def _compute(self, piece: Piece) -> Done:
        step, rows, first = piece.step, piece.rows, piece.first_row
        block = self.reader.block(rows.tensor, rows.start, rows.stop)
        block.flags.writeable = False  # what was read is hashed after the kernel has seen it
        if step.kernel is None:
            arrays: tuple[NDArray[Any], ...] = (np.ascontiguousarray(block),)
        else:
            beside = tuple(self._beside(b, first, len(block)) for b in step.beside)
            arrays = step.kernel((block, *beside), first)
        made = tuple(
            Made(
                self.plan.file_of[output.name],
                self.plan.start(output) + first * array.nbytes // len(block),
                array.reshape(-1).view(np.uint8),
            )
            for output, array in zip(step.outputs, arrays, strict=True)
        )
        if not rows.tensor.contiguous:
            return Done(made)
        start = rows.tensor.start + _bits(rows.tensor, rows.start) // 8
        return Done(made, Read(rows.tensor.storage.file, start, block.reshape(-1).view(np.uint8)))

    def _beside(self, beside: Beside, first_row: int, rows: int) -> NDArray[Any]:
        """One row for each row of the stack; a copy, so that the next call may use the buffer again."""
        first, last = first_row // beside.each, (first_row + rows - 1) // beside.each
        held = self.companions.block(beside.tensor, first, last + 1)
        copied: NDArray[Any] = held[np.arange(first_row, first_row + rows) // beside.each - first]
        return copied


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)
