"""How fast a conversion goes on this machine, measured on its own first pieces; nothing is written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.hashing import new_hasher
from weightsmith.convert.parts.share import share
from weightsmith.convert.stream.pieces import PIECE_BYTES, PieceMaker, pieces
from weightsmith.values.blocks import BlockReader
from weightsmith.values.parallel import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weightsmith.convert.parts.plan import PartsPlan
    from weightsmith.convert.parts.share import Part
    from weightsmith.convert.stream.pieces import Piece, PieceResult


def rehearse(plan: PartsPlan, part: Part, seconds: float) -> float:
    """Bytes of the source a second that are read, converted and hashed here. seconds: how long to measure.

    The pieces are those of the part, so that parts that rehearse at once do not read the same bytes. What the disk
    takes to write is not in it. Raises as `write_part`.
    """
    weights, request = plan.weights, plan.request
    read = new_hasher(request.hash_name)
    made = new_hasher(request.hash_name)

    def hash_all(result: PieceResult) -> None:
        if result.read is not None:
            read.update(result.read.data.data)
        for each in result.made:
            made.update(each.data.data)

    done = 0
    began = time.monotonic()

    def in_time() -> Iterator[Piece]:
        nonlocal done
        for piece in pieces(weights, weights.files.keys() - share(weights, part)):
            if time.monotonic() - began > seconds:
                return
            done += piece.nbytes
            yield piece

    with TensorReader(plan.source.checkpoint) as reader:

        def new_worker() -> Callable[[Piece], PieceResult]:
            return PieceMaker(weights, BlockReader(reader, PIECE_BYTES), BlockReader(reader)).make

        in_order(in_time(), new_worker, (hash_all,), request.workers)
    return done / max(time.monotonic() - began, 1e-6)
