"""Executes a plan: allocates every file, then reads and computes side by side and writes in the order of the bytes."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.data import TensorReader
from weightsmith.convert.stream.disk import Disk
from weightsmith.convert.stream.ordered_file import Stream, allocate
from weightsmith.convert.stream.pieces import PIECE_BYTES, PieceMaker, pieces
from weightsmith.values.blocks import BlockReader
from weightsmith.values.parallel import Tally, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.stream.pieces import FileBytes, Piece, PieceResult


@dataclass(frozen=True, slots=True)
class WriteObserver:
    """Who is told what while weights are written.

    finished: called with the name, the bytes and the hash of each file that is whole and on the disk, from a
        thread of the disk's.
    read: called with what was read of the source, where it lies together, in the order of the work and one at
        a time.
    made_zero: called with tensor -> how many of its numbers became zero in a piece of the work, one piece at a time.
    progress: called with the bytes read so far, and with how many there are.
    space: called before each file is made; it may wait. None: all are made at the start, so that a full disk is found
        at once.
    """

    finished: Callable[[str, int, str], None]
    read: Callable[[FileBytes], object]
    made_zero: Callable[[Mapping[str, int]], object]
    progress: Callable[[int, int], None] | None = None
    space: Callable[[], None] | None = None


def write_weights(
    plan: OutputPlan,
    source: Checkpoint,
    folder: Path,
    workers: int,
    hash_name: str,
    done: Mapping[str, str],
    observer: WriteObserver,
) -> dict[str, str]:
    """Fills `folder` with the plan's files, on the disk; file -> hash. Memory: a few pieces per worker.

    done: the files that are there already, with their hashes.

    Raises OSError when the target cannot take them, CorruptCheckpoint when the source changes underneath,
    ConversionRefused from a kernel. The same plan gives the same bytes whatever the number of workers.
    """
    missing = {file: layout.nbytes for file, layout in plan.files.items() if file not in done}
    tally = Tally(plan.bytes_read, observer.progress)
    if done:
        tally.add(plan.bytes_read - sum(piece.nbytes for piece in pieces(plan, done)))

    def report_read(result: PieceResult) -> None:
        if result.read is not None:
            observer.read(result.read)
        observer.made_zero(result.made_zero)

    disk = Disk(workers)
    with TensorReader(source) as reader, _streams(folder, missing, hash_name, disk, observer) as streams:
        make = _maker(folder, missing, streams, observer.space)

        def write(result: PieceResult) -> None:
            for part in result.made:
                if part.file in streams:
                    make(part.file)
                    _give(streams[part.file], part)

        new_worker = _worker_factory(plan, reader, disk, tally)
        in_order(pieces(plan, done), new_worker, (report_read, write), workers)
        return {file: done[file] if file in done else streams[file].sealed() for file in plan.files}


def _give(stream: Stream, part: FileBytes) -> None:
    if part.room is None:
        stream.write(part.start, part.data)
    else:
        stream.take(part.start, part.room)


def _maker(
    folder: Path, sizes: Mapping[str, int], streams: Mapping[str, Stream], space: Callable[[], None] | None
) -> Callable[[str], None]:
    """What is called before each write to a file, and makes it when it is the first one.

    sizes: file -> bytes. space: see `WriteObserver`; whoever answers has been told of all that is whole.
    """
    unmade = dict(sizes)
    if space is None:
        for file in sizes:
            allocate(folder / file, unmade.pop(file))

    def make(file: str) -> None:
        if space is None or file not in unmade:
            return
        for stream in streams.values():
            if stream.is_whole:
                stream.sealed()
        space()
        allocate(folder / file, unmade.pop(file))

    return make


@contextmanager
def _streams(
    folder: Path, sizes: Mapping[str, int], hash_name: str, disk: Disk, observer: WriteObserver
) -> Iterator[dict[str, Stream]]:
    """File -> the stream that fills it. sizes: allocated file -> bytes."""
    with ExitStack() as stack:
        streams = {}
        for file, nbytes in sizes.items():
            streams[file] = Stream(folder / file, nbytes, hash_name, disk, observer.finished)
            stack.callback(streams[file].close)
        stack.enter_context(disk)  # left first: its threads use the files
        yield streams


def _worker_factory(
    plan: OutputPlan, reader: TensorReader, disk: Disk, tally: Tally
) -> Callable[[], Callable[[Piece], PieceResult]]:
    """Makes one worker for each thread, with buffers of its own."""

    def new_worker() -> Callable[[Piece], PieceResult]:
        maker = PieceMaker(plan, BlockReader(reader, PIECE_BYTES), BlockReader(reader), disk)

        def work(piece: Piece) -> PieceResult:
            result = maker.make(piece)
            tally.add(piece.nbytes)
            return result

        return work

    return new_worker
