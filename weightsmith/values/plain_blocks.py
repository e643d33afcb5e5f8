"""The numbers that a packed weight stands for, a few rows at a time, as float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.errors import CorruptCheckpoint
from weightsmith.schemes.arithmetic import NotFiniteError, OutOfPlaceError, WrongOrderError, plain_rows
from weightsmith.values.blocks import BLOCK_BYTES, BlockReader, grid, rows_beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.schemes.formula import Formula


@dataclass(frozen=True, slots=True)
class PlainBlocks:
    """Reads in one thread. codes, beside: a buffer for rows of codes, and one for what goes along with them."""

    codes: BlockReader
    beside: BlockReader

    def blocks(self, made: Formula) -> Iterator[Bits]:
        """Patterns of float32, one after the other in the weight's own order. Raises CorruptCheckpoint."""
        rows, columns = grid(made.codes)
        unit = made.turned or 1
        step = max(unit, BLOCK_BYTES // max(1, columns) // unit * unit)
        for once in range(made.slices):
            for start in range(0, rows, step):
                yield self._block(made, start, min(start + step, rows), once * rows)

    def elements(self, made: Formula, total: int, start: int, stop: int) -> Bits:
        """Elements start:stop of a weight that has `total`, as patterns of float32 in its own order.

        Makes no more rows of codes than these need; of a weight that is turned or made in slices all that stand before
        them, too. Raises CorruptCheckpoint.
        """
        if not in_rows(made, total):
            return self._from_stream(made, start, stop)
        each = total // grid(made.codes)[0]
        first, last = start // each, -(-stop // each)
        return self._block(made, first, last, 0)[start - first * each : stop - first * each]

    def _from_stream(self, made: Formula, start: int, stop: int) -> Bits:
        parts, at = [], 0
        for block in self.blocks(made):
            if at + len(block) > start:
                parts.append(block[max(0, start - at) : stop - at].copy())
            at += len(block)
            if at >= stop:
                break
        return np.concatenate(parts) if parts else np.empty(0, np.uint32)

    def _block(self, made: Formula, start: int, stop: int, before: int) -> Bits:
        among = range(before + start, before + stop)
        block = self.codes.block(made.codes, start, stop)
        beside = [rows_beside(self.beside, one.tensor, one.each, one.rows, among) for one in made.operands]
        try:
            values = plain_rows(made, (block, *beside), among.start, "F32")
        except (NotFiniteError, OutOfPlaceError, WrongOrderError) as error:
            way_out = "get undamaged weights"
            raise CorruptCheckpoint(error.tensor or made.codes.name, str(error), way_out) from error
        return values.view(np.uint32).reshape(-1)


def in_rows(made: Formula, total: int) -> bool:
    """Whether each row of codes makes the same number of a weight's `total` elements, one row's after another's."""
    return not made.turned and made.slices == 1 and total % max(1, grid(made.codes)[0]) == 0
