"""The arithmetic of a merge: rows of W + s L R in float64, scaled where the adapter is a DoRA, rounded once."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.float_formats import F64, FORMATS, cast, widen
from weightsmith.errors import ConversionRefused
from weightsmith.values.blocks import grid, rows_per_block

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.arrays import Bits, Doubles
    from weightsmith.convert.protocol import Arrays, Blocks

_BROKEN = "the adapter is damaged; get it again, or leave it unmerged"


@dataclass(frozen=True, slots=True)
class Merge:
    """Rows of one weight.

    tensor: the name of the weight, for messages. source, target: its dtypes. left: the dtype of the factor [rows, r]
    that goes along with the rows. right: the whole other factor [r, cols], of `checkpoint`; None where there is none,
    and the sum is W + s L. norms: of a DoRA whose outputs are the columns. rows_magnitude: the dtype of the magnitudes
    that go along with the rows, of a DoRA whose outputs these are.
    """

    tensor: str
    source: str
    target: str
    scaling: float
    checkpoint: Checkpoint
    left: str
    right: Tensor | None
    rows_magnitude: str | None = None
    norms: ColumnNorms | None = None

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        merged = self.plain(blocks[0], blocks[1])
        if self.rows_magnitude is not None:
            magnitude = values(blocks[2], self.rows_magnitude)
            merged *= magnitude / np.linalg.norm(merged, axis=1, keepdims=True)
        elif self.norms is not None:
            merged *= self.norms.factors(self)
        if not np.isfinite(merged).all():
            where = f"rows {first_row} to {first_row + len(merged) - 1}"
            raise ConversionRefused(self.tensor, f"is NaN or infinite once it is merged ({where})", _BROKEN)
        rounded, lost = cast(merged, F64, FORMATS[self.target])
        if lost:
            raise ConversionRefused(
                self.tensor,
                f"has {lost} numbers that are too large for {self.target} once it is merged (from row {first_row} on)",
                "choose a --dtype with a wider range, such as bfloat16",
            )
        return (rounded,)

    def plain(self, base: Bits, left: Bits) -> Doubles:
        """[rows, cols] of W + s L R. Factors that hold NaN make numbers that are none."""
        factor = values(left, self.left)
        with np.errstate(invalid="ignore", over="ignore"):
            product = factor if self.right is None else factor @ self._right()
            product *= self.scaling
            product += values(base, self.source)
        return product

    def _right(self) -> Doubles:
        assert self.right is not None
        with TensorReader(self.checkpoint) as reader:
            return values(bits(reader, self.right, None), self.right.dtype)


@dataclass(slots=True)
class ColumnNorms:
    """What a DoRA multiplies each column by, where the outputs are the columns: magnitude / norm of the whole column.

    base, left: the weight, and the factor that goes along with its rows. Read once, in blocks, by whichever thread
    comes first.
    """

    base: Tensor
    left: Tensor
    magnitude: Tensor
    _found: Doubles | None = None
    _lock: Lock = field(default_factory=Lock)

    def factors(self, merge: Merge) -> Doubles:
        """[cols]. merge: how the rows are made."""
        with self._lock:
            if self._found is None:
                self._found = self._read(merge)
            return self._found

    def _read(self, merge: Merge) -> Doubles:
        rows, step = grid(self.base)[0], rows_per_block(self.base)
        squares = np.zeros(grid(self.base)[1])
        with TensorReader(merge.checkpoint) as reader:
            for start in range(0, rows, step):
                span = (start, min(start + step, rows))
                block = merge.plain(bits(reader, self.base, span), bits(reader, self.left, span))
                squares += np.square(block).sum(axis=0)
            magnitude = values(bits(reader, self.magnitude, None), self.magnitude.dtype)
        factors: Doubles = magnitude.reshape(-1) / np.sqrt(squares)
        return factors


def values(patterns: Bits, dtype: str) -> Doubles:
    """Patterns as numbers; exact."""
    return widen(patterns, FORMATS[dtype])


def bits(reader: TensorReader, tensor: Tensor, rows: tuple[int, int] | None) -> Bits:
    """A tensor, or rows of it, as patterns."""
    array = reader.read(tensor) if rows is None else reader.read_rows(tensor, *rows)
    found: Bits = np.ascontiguousarray(array).view(FORMATS[tensor.dtype].word)
    return found
