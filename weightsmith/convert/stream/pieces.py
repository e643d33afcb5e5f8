"""Cuts a plan's work into pieces of a few megabytes, in the order of the output's bytes, and makes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from weightsmith.checkpoint.dtypes import BITS
from weightsmith.convert.protocol import FillingKernel, RoundingKernel
from weightsmith.convert.stream.disk import ROOM
from weightsmith.errors import ConversionRefused
from weightsmith.values.blocks import byte_range, grid, rows_beside
from weightsmith.values.damage import all_finite

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.protocol import Blocks, Companion, RecipeStep, Rows
    from weightsmith.convert.stream.disk import Disk, Room
    from weightsmith.values.blocks import BlockReader

# Of arithmetic: large enough that its steps, and waiting for its turn, cost little beside it. Of a copy: the disk's
# threads then always have something, and nothing lies long enough to leave a cache. Measured on two cores, 3.2 GB:
# arithmetic 3.1 s with 2 MiB, 2.9 with 8, 3.0 with 16; copies 2.1 s with 2 MiB, 2.4 with 4 and 8.
PIECE_BYTES = ROOM
COPY_BYTES = 2 << 20
# Fewer bytes are gathered with others: copying them costs less than a write of their own.
ALONE = 256 << 10


@dataclass(frozen=True, slots=True)
class FileBytes:
    """`data` stands in `file`, of the source or of the output, from byte `start` on.

    room: of the disk's, where it lies in one.
    """

    file: str
    start: int
    data: NDArray[np.uint8]
    room: Room | None = None


@dataclass(frozen=True, slots=True)
class PieceResult:
    """What a piece writes, and what it read; valid until its maker makes the next piece.

    made: bytes of output files.
    read: the bytes of the source that they were made of; None where these do not lie together.
    made_zero: tensor -> how many of its numbers are zero that were not.
    """

    made: tuple[FileBytes, ...]
    read: FileBytes | None = None
    made_zero: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownPiece:
    """Bytes that the plan holds: a header, or a tensor that is made of no other."""

    made: FileBytes

    @property
    def nbytes(self) -> int:
        """Bytes of the source that it reads: none."""
        return 0


@dataclass(frozen=True, slots=True)
class CopyPiece:
    """Bytes of one contiguous tensor that go to an output file as they are.

    file, start: where they go.
    tensor: the tensor, cut to these bytes and seen as U8. dtype: its own.
    """

    file: str
    start: int
    tensor: Tensor
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of the source that it reads."""
        return self.tensor.nbytes


@dataclass(frozen=True, slots=True)
class RowsPiece:
    """Rows of one input of one step.

    first_row: the row of the step's stack with which they begin.
    """

    step: RecipeStep
    rows: Rows
    first_row: int

    @property
    def nbytes(self) -> int:
        """Bytes of the source that it reads, those of companions not counted."""
        return (_bits(self.rows.tensor, self.rows.stop - self.rows.start) + 7) // 8


Piece: TypeAlias = KnownPiece | CopyPiece | RowsPiece


def pieces(plan: OutputPlan, done: Collection[str] = ()) -> Iterator[Piece]:
    """All the work, in the order of the files and of their bytes, except what goes into files of `done` alone."""
    for file, steps in _steps_by_file(plan).items():
        if file not in done:
            yield KnownPiece(FileBytes(file, 0, _bytes(plan.files[file].header)))
        for step in steps:
            if _is_wanted(plan, step, done):
                yield from _of_step(step, file, plan.start(step.outputs[0]))


def stretches(plan: OutputPlan, done: Collection[str] = ()) -> Iterator[tuple[str, int, int]]:
    """(file, start, stop) of the source's bytes in the order in which the pieces read them."""
    for steps in _steps_by_file(plan).values():
        wanted = (step for step in steps if _is_wanted(plan, step, done))
        for rows in (rows for step in wanted for rows in step.inputs):
            start = rows.tensor.start + _bits(rows.tensor, rows.start) // 8
            stop = rows.tensor.start + (_bits(rows.tensor, rows.stop) + 7) // 8
            # A strided view has its bytes anywhere: nothing comes before them.
            yield rows.tensor.storage.file, start if rows.tensor.contiguous else -1, stop


def _is_wanted(plan: OutputPlan, step: RecipeStep, done: Collection[str]) -> bool:
    return any(plan.file_of[output.name] not in done for output in step.outputs)


def _steps_by_file(plan: OutputPlan) -> dict[str, list[RecipeStep]]:
    """The work that begins in each file, in the order of its bytes."""
    steps: dict[str, list[RecipeStep]] = {file: [] for file in plan.files}
    for step in plan.steps:
        steps[plan.file_of[step.outputs[0].name]].append(step)
    for begun in steps.values():
        begun.sort(key=lambda step: plan.start(step.outputs[0]))
    return steps


def _of_step(step: RecipeStep, file: str, start: int) -> Iterator[Piece]:
    if step.data is not None:
        yield KnownPiece(FileBytes(file, start, _bytes(step.data)))
    first = 0
    for rows in step.inputs:
        if step.kernel is None and rows.tensor.contiguous:
            yield from _copies(rows, file, start + _bits(rows.tensor, first) // 8)
        else:
            yield from _rows(step, rows, first)
        first += rows.stop - rows.start


def _copies(rows: Rows, file: str, start: int) -> Iterator[CopyPiece]:
    begin, end = _bits(rows.tensor, rows.start) // 8, (_bits(rows.tensor, rows.stop) + 7) // 8
    for at in range(begin, end, COPY_BYTES):
        part = byte_range(rows.tensor, at, min(at + COPY_BYTES, end))
        yield CopyPiece(file, start + at - begin, part, rows.tensor.dtype)


def _rows(step: RecipeStep, rows: Rows, first: int) -> Iterator[RowsPiece]:
    if BITS[rows.tensor.dtype] < 8:
        count = max(1, rows.stop - rows.start)  # rows need not end on a byte: never cut
    else:
        count = max(1, PIECE_BYTES * 8 // max(1, _bits(rows.tensor, 1)))
    count = max(step.together, count // step.together * step.together)
    for start in range(rows.start, rows.stop, count):
        stop = min(start + count, rows.stop)
        yield RowsPiece(step, replace(rows, start=start, stop=stop), first + start - rows.start)


def _bits(tensor: Tensor, rows: int) -> int:
    return rows * grid(tensor)[1] * BITS[tensor.dtype]


@dataclass(frozen=True, slots=True)
class PieceMaker:
    """Makes pieces in one thread.

    reader: the buffer for rows of a stack and for bytes to copy.
    companions: the buffer for the rows that go along with a stack.
    disk: has room for what is made; None where nothing is written.
    """

    plan: OutputPlan
    reader: BlockReader
    companions: BlockReader
    disk: Disk | None = None

    def make(self, piece: Piece) -> PieceResult:
        """Raises what reading and kernels raise."""
        if isinstance(piece, KnownPiece):
            return PieceResult((piece.made,))
        if isinstance(piece, CopyPiece):
            room = self._room(piece.start, piece.nbytes)
            into = None if room is None else room.data
            data = self.reader.elements(piece.tensor, 0, piece.nbytes, into)
            self._need_finite(data, piece.tensor.name, piece.dtype)
            read = FileBytes(piece.tensor.storage.file, piece.tensor.start, data)
            return PieceResult((FileBytes(piece.file, piece.start, data, room),), read)
        return self._compute(piece)

    def _room(self, start: int, nbytes: int) -> Room | None:
        """Room for bytes that are worth a write of their own."""
        return self.disk.room(start, nbytes) if self.disk is not None and ALONE <= nbytes <= ROOM else None

    def _compute(self, piece: RowsPiece) -> PieceResult:
        step, rows, first = piece.step, piece.rows, piece.first_row
        block = self.reader.block(rows.tensor, rows.start, rows.stop)
        self._need_finite(block, rows.tensor.name, rows.tensor.dtype)
        block.flags.writeable = False  # what was read is hashed after the kernel has seen it
        blocks = (block, *(self._rows_of(c, first, len(block)) for c in step.companions))
        room = self._room_for(step, first, len(block))
        arrays = _arrays(step, blocks, first, room)
        made_zero: dict[str, int] = {}
        if isinstance(step.kernel, RoundingKernel):
            made_zero[step.outputs[0].name] = step.kernel.made_zero(blocks, first, arrays)
        made = tuple(
            FileBytes(
                self.plan.file_of[output.name],
                self.plan.start(output) + first * array.nbytes // len(block),
                array.reshape(-1).view(np.uint8),
                room,
            )
            for output, array in zip(step.outputs, arrays, strict=True)
        )
        if not rows.tensor.contiguous:
            return PieceResult(made, made_zero=made_zero)
        start = rows.tensor.start + _bits(rows.tensor, rows.start) // 8
        read = FileBytes(rows.tensor.storage.file, start, block.reshape(-1).view(np.uint8))
        return PieceResult(made, read, made_zero)

    def _room_for(self, step: RecipeStep, first: int, rows: int) -> Room | None:
        """Room for what the kernel makes of `rows` rows from row `first` on, where it can make it there."""
        if not isinstance(step.kernel, FillingKernel):
            return None
        (output,) = step.outputs
        row = prod(output.shape) * BITS[output.dtype] // 8 // step.rows
        return self._room(self.plan.start(output) + first * row, rows * row)

    def _need_finite(self, patterns: Bits, tensor: str, dtype: str) -> None:
        if not self.plan.finite or all_finite(patterns.view(f"u{max(1, BITS[dtype] // 8)}"), dtype):
            return
        raise ConversionRefused(
            tensor,
            "holds NaN or infinity",
            "see `weightsmith inspect --values`; get undamaged weights, or convert them as they are with "
            "--allow-damage (library: allow_damage=True)",
        )

    def _rows_of(self, companion: Companion, first_row: int, rows: int) -> Bits:
        """One row for each row of the stack; a copy, so that the next call may use the buffer again."""
        among = range(first_row, first_row + rows)
        return rows_beside(self.companions, companion.tensor, companion.each, companion.rows, among)


def _arrays(
    step: RecipeStep, blocks: Blocks, first: int, room: Room | None
) -> tuple[NDArray[np.generic], ...]:
    """What the step makes of rows from row `first` on, one array per output. room: where it is to lie."""
    if step.kernel is None:
        return (np.ascontiguousarray(blocks[0]),)
    if room is None or not isinstance(step.kernel, FillingKernel):
        return step.kernel(blocks, first)
    made = room.data.view(f"u{BITS[step.outputs[0].dtype] // 8}").reshape(len(blocks[0]), -1)
    step.kernel.fill(blocks, first, made)
    return (made,)


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)
