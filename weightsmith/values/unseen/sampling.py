"""Reads samples of weights for the statistics: runs of whole rows, as float32, of packed and of plain weights alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.float_formats import FORMATS, widen
from weightsmith.schemes.formula import Formula
from weightsmith.values.blocks import BlockReader, grid
from weightsmith.values.plain_blocks import PlainBlocks, in_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.arrays import Array, Doubles, Singles
    from weightsmith.checkpoint.data import TensorReader
    from weightsmith.schemes import PlainView
    from weightsmith.schemes.view import PackedModule

# Layers that are looked at, spread evenly: heads and norms are alike in kind in all of them.
LAYERS = 12
# Rows of a matrix that the norms of its columns are told from. The logarithm of a norm over so many numbers has a
# standard deviation of 1 / sqrt(2 * 256) = 0.044; heads of trained models differ by 0.1 to 0.5.
ROWS, RUNS = 256, 4
# So many bytes cost less to read over than another request; and a run is no longer than so many times that.
_NEAR, _LONGEST_RUN = 1 << 17, 32
# A packed weight whose rows cannot be made one by one is made whole, up to so many elements.
_LARGEST_MADE = 1 << 26


@dataclass(frozen=True, slots=True)
class Sampler:
    """Rows of the plain view of one checkpoint, in one thread.

    view: whose tensors are read. modules: what is packed, by plain name. near: the files lie here, so that a hundred
    megabytes are no matter.
    """

    view: PlainView
    modules: Mapping[str, PackedModule]
    blocks: BlockReader
    packed: PlainBlocks
    near: bool = True

    @staticmethod
    def of(view: PlainView, reader: TensorReader, *, near: bool = True) -> Sampler:
        """Reads through `reader`, which stays open as long as this is used."""
        modules = {module.plain: module for module in view.modules}
        packed = PlainBlocks(BlockReader(reader), BlockReader(reader))
        return Sampler(view, modules, BlockReader(reader), packed, near)

    def readable(self, name: str) -> bool:
        """Whether there is such a tensor of floating-point numbers, or packed ones of which a part can be made."""
        tensor = self.view.tensors.get(name)
        if tensor is None or not tensor.elements:
            return False
        if name not in self.modules:
            return tensor.dtype in FORMATS
        made = self.modules[name].made
        return isinstance(made, Formula) and (
            in_rows(made, tensor.elements) or tensor.elements <= _LARGEST_MADE
        )

    def rows(self, name: str, start: int, stop: int) -> Singles:
        """Rows start:stop of the tensor's grid (`blocks.grid`), [rows, columns]; a vector is one column.

        Raises what `TensorReader.read` raises, and CorruptCheckpoint for codes that stand for no number.
        """
        tensor = self.view.tensors[name]
        if name in self.modules:
            made, columns = self.modules[name].made, grid(tensor)[1]
            assert isinstance(made, Formula), name
            patterns = self.packed.elements(made, tensor.elements, start * columns, stop * columns)
            return patterns.view(np.float32).reshape(-1, columns).copy()
        return widen(self.blocks.block(tensor, start, stop), FORMATS[tensor.dtype]).astype(np.float32)

    def some(self, name: str, rows: Sequence[int]) -> Singles:
        """These rows, in this order. Rows that lie near each other are read at once."""
        tensor = self.view.tensors[name]
        gap = max(1, _NEAR // max(1, tensor.nbytes // grid(tensor)[0]))
        wanted = sorted(set(rows))
        runs: list[list[int]] = []
        for row in wanted:
            if runs and row - runs[-1][-1] <= gap and row - runs[-1][0] < _LONGEST_RUN * gap:
                runs[-1].append(row)
            else:
                runs.append([row])
        held: dict[int, Singles] = {}
        for run in runs:
            block = self.rows(name, run[0], run[-1] + 1)
            held.update({row: block[row - run[0]].copy() for row in run})
        return np.stack([held[row] for row in rows])

    def whole(self, name: str) -> Singles:
        """All rows."""
        return self.rows(name, 0, grid(self.view.tensors[name])[0])

    def vector(self, name: str) -> Singles:
        """All elements of a vector."""
        return self.whole(name).reshape(-1)

    def spread(self, name: str, rows: int = ROWS, runs: int = RUNS) -> Singles:
        """About so many rows in so many runs, evenly from the first to the last; all where there are no more."""
        total = grid(self.view.tensors[name])[0]
        if total <= rows:
            return self.whole(name)
        each = max(1, rows // runs)
        starts = np.linspace(0, total - each, runs).astype(int)
        return np.concatenate([self.rows(name, int(start), int(start) + each) for start in starts])


def evenly(count: int, most: int = LAYERS) -> list[int]:
    """At most so many of the indices 0 … count - 1, evenly spread."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(most, count))}) if count else []


def finite(rows: Array) -> Doubles:
    """The numbers in float64, those that are not finite as 0."""
    found: Doubles = np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return found


def log_norms(matrix: Array, axis: int) -> Array:
    """Natural logarithms of the Euclidean norms along an axis of a matrix, in float64.

    Numbers that are not finite count as 0, and so small a norm that a logarithm would run away as 1e-12.
    """
    squares = np.einsum("ij,ij->j" if axis == 0 else "ij,ij->i", matrix, matrix)
    if not np.isfinite(squares).all():
        squares = (finite(matrix) ** 2).sum(axis=axis)
    found: Array = np.log(np.maximum(np.sqrt(squares.astype(np.float64)), 1e-12))
    return found
