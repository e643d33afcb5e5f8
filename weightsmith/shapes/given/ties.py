"""Whether two tensors that a config may tie hold the same numbers: the one question about data that shapes asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.checkpoint import shared_groups
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint import Checkpoint, Tensor

_BLOCK_BYTES = 1 << 24
# Rows that are compared first: matrices that were trained apart differ in nearly all of them.
_SAMPLE = 256
# Up to this size two matrices that have these rows in common are compared whole.
_WHOLE_BYTES = 1 << 29


@dataclass(frozen=True, slots=True)
class Copies:
    """What the bytes of a checkpoint tell about tensors that may be copies of each other.

    shared: names of tensors that lie in the same bytes of a torch file. Files are read when it is asked for, and once.
    """

    checkpoint: Checkpoint
    shared: frozenset[str]
    _known: dict[tuple[str, str], bool | None] = field(default_factory=dict)

    @staticmethod
    def of(checkpoint: Checkpoint) -> Copies:
        """Tensors of safetensors files never overlap: only torch files let two names share their bytes."""
        groups = () if checkpoint.format == "safetensors" else shared_groups(checkpoint)
        return Copies(checkpoint, frozenset(name for group in groups for name in group))

    def equal(self, one: str, other: str) -> bool | None:
        """Whether two tensors hold the same numbers, see `same_values`; None also where one of them is not stored
        or cannot be read."""
        pair = one, other
        if pair not in self._known:
            self._known[pair] = self._compare(*pair)
        return self._known[pair]

    def _compare(self, one: str, other: str) -> bool | None:
        tensors = self.checkpoint.tensors
        if one not in tensors or other not in tensors:
            return None
        try:
            return same_values(self.checkpoint, tensors[one], tensors[other])
        except WeightsmithError:  # names and shapes tell the rest all the same
            return None


def same_values(checkpoint: Checkpoint, a: Tensor, b: Tensor) -> bool | None:
    """Compares the bytes of two tensors and stops at the first that differ; None where bytes cannot tell.

    A sample of rows comes first, and decides alone where the matrices are huge. The plan of a conversion is a table
    without files; of another dtype the same numbers have other bytes. Raises what `TensorReader.read` raises.
    """
    from weightsmith.checkpoint.data import TensorReader

    if a.shape != b.shape or not a.elements or not a.shape:
        return False
    if a.dtype != b.dtype or not all((checkpoint.root / file).is_file() for file in {*a.files, *b.files}):
        return None
    with TensorReader(checkpoint) as reader:
        return all(
            reader.read_rows(a, start, stop).tobytes() == reader.read_rows(b, start, stop).tobytes()
            for start, stop in _blocks(a)
        )


def _blocks(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """Rows that are compared, as ranges: single ones from the first to the last, then all where these are not many."""
    rows = tensor.shape[0]
    last = min(rows, _SAMPLE) - 1
    yield from ((n * (rows - 1) // last, n * (rows - 1) // last + 1) for n in range(last + 1) if last)
    if tensor.nbytes <= _WHOLE_BYTES:
        step = max(1, _BLOCK_BYTES * rows // tensor.nbytes)
        yield from ((start, min(start + step, rows)) for start in range(0, rows, step))
