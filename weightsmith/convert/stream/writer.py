"""Executes a plan: allocates every file, then reads and computes side by side and writes in the order of the bytes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from weightsmith.checkpoint.data import TensorReader
from weightsmith.convert.stream.disk import Disk
from weightsmith.convert.stream.ordered_file import Stream, allocate
from weightsmith.convert.stream.pieces import PIECE_BYTES, Hand, pieces
from weightsmith.values.blocks import BlockReader
from weightsmith.values.parallel import Tally, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.plan.output_plan import Plan
    from weightsmith.convert.stream.pieces import Copy, Done, Given, Piece, Read


def write_weights(
    plan: Plan,
    source: Checkpoint,
    folder: Path,
    workers: int,
    hash_name: str,
    progress: Callable[[int, int], None] | None,
    done: Mapping[str, str],
    finished: Callable[[str, int, str], None],
    saw: Callable[[Read], object],
) -> dict[str, str]:
    """Fills `folder` with the plan's files, on the disk; file -> hash. Memory: a few pieces per worker.

    done: the files that are there already, with their hashes. finished: called for each of the others with its
    bytes and its hash when it is whole and on the disk, from a thread of the disk's. saw: called with what was
    read of the source, where it lies together, in the order of the work and one at a time.

    Raises OSError when the target cannot take them, CorruptCheckpoint when the source changes underneath,
    ConversionRefused from a kernel. The same plan gives the same bytes whatever the number of workers.
    """
    for name, layout in plan.files.items():
        if name not in done:
            allocate(folder / name, layout.nbytes)
    tally = Tally(plan.bytes_read, progress)
    if done:
        tally.add(plan.bytes_read - sum(piece.nbytes for piece in pieces(plan, done)))
    with ExitStack() as stack:
        reader = stack.enter_context(TensorReader(source))
        disk = Disk()
        streams: dict[str, Stream] = {}
        for name, layout in plan.files.items():
            if name not in done:
                streams[name] = Stream(folder / name, layout.nbytes, hash_name, disk, finished)
                stack.callback(streams[name].close)
        stack.enter_context(disk)  # left first: its threads use the files

        def new_worker() -> Callable[[Given | Copy | Piece], Done]:
            hand = Hand(plan, BlockReader(reader, PIECE_BYTES), BlockReader(reader))

            def work(piece: Given | Copy | Piece) -> Done:
                made = hand.do(piece)
                tally.add(piece.nbytes)
                return made

            return work

        def tell(work: Done) -> None:
            if work.read is not None:
                saw(work.read)

        def write(work: Done) -> None:
            for part in work.made:
                if part.file not in done:
                    streams[part.file].write(part.start, part.data)

        in_order(pieces(plan, done), new_worker, (tell, write), workers)
        return {name: done[name] if name in done else streams[name].sealed() for name in plan.files}
