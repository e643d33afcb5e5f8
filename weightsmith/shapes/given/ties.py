"""Whether two tensors that a config may tie hold the same numbers: the one question about data that shapes asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.checkpoint import shared_groups
from weightsmith.checkpoint.layout import row_major, span
from weightsmith.checkpoint.place import open_file
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint, Tensor

_BLOCK_BYTES = 1 << 20
# So many stretches of so many bytes are compared first: matrices that were trained apart differ in nearly every row.
_SAMPLES, _SAMPLE_BYTES = 256, 1 << 12
# Up to this size two matrices that have these bytes in common are compared whole.
_WHOLE_BYTES = 1 << 28
# So many bytes are read at once, of a row or of what is laid out otherwise than its copy.
_AT_ONCE = 1 << 26


@dataclass(frozen=True, slots=True)
class Copies:
    """What the bytes of a checkpoint tell about tensors that may be copies of each other.

    shared: names of tensors that lie in the same bytes of a torch file. made_of: of tensors that are yet to be made,
    the one of the checkpoint that each is made of, and how; None where the tensors are the checkpoint's own. Files are
    read when it is asked for, and once.
    """

    checkpoint: Checkpoint
    shared: frozenset[str]
    made_of: Mapping[str, tuple[str, object]] | None = None
    _known: dict[tuple[str, str], bool | None] = field(default_factory=dict)

    @staticmethod
    def of(checkpoint: Checkpoint) -> Copies:
        """Tensors of safetensors files never overlap: only torch files let two names share their bytes."""
        groups = () if checkpoint.format == "safetensors" else shared_groups(checkpoint)
        return Copies(checkpoint, frozenset(name for group in groups for name in group))

    @staticmethod
    def planned(checkpoint: Checkpoint, made_of: Mapping[str, tuple[str, object]]) -> Copies:
        """Of tensors that will be made, each in a place of its own: equal where the same is made of equal ones."""
        return Copies(checkpoint, frozenset(), made_of)

    def equal(self, one: str, other: str) -> bool | None:
        """Whether two tensors hold the same numbers, see `same_values`; None also where one of them is not stored
        or cannot be read."""
        pair = one, other
        if pair not in self._known:
            self._known[pair] = self._compare(*pair)
        return self._known[pair]

    def _compare(self, one: str, other: str) -> bool | None:
        tensors = self.checkpoint.tensors
        if self.made_of is not None:
            (one, how), (other, how_other) = (self.made_of.get(name, ("", None)) for name in (one, other))
            if how != how_other:
                return None
        if one not in tensors or other not in tensors:
            return None
        try:
            return same_values(self.checkpoint, tensors[one], tensors[other])
        except WeightsmithError:  # names and shapes tell the rest all the same
            return None


def same_values(checkpoint: Checkpoint, a: Tensor, b: Tensor) -> bool | None:
    """Compares the bytes of two tensors and stops at the first that differ; None where bytes cannot tell.

    A sample of rows comes first, and decides alone where the matrices are huge. The plan of a conversion is a table
    without files; of another dtype the same numbers have other bytes. Raises what `ByteFile` and `TensorReader` raise.
    """
    if a.shape != b.shape or not a.elements or not a.shape:
        return False
    if a.dtype != b.dtype or not all((checkpoint.root / file).is_file() for file in {*a.files, *b.files}):
        return None
    if (a.contiguous and b.contiguous) or _laid_out_alike(a, b):
        return _same_bytes(checkpoint, a, b)
    if _in_rows(a) and _in_rows(b):
        return _same_rows(checkpoint, a, b)
    return _same_rows(checkpoint, a, b, at_once=True) if max(_spanned(a), _spanned(b)) <= _AT_ONCE else None


def _laid_out_alike(a: Tensor, b: Tensor) -> bool:
    """Whether the same places hold the same numbers of both, and nothing lies between these."""
    axes = sorted(
        ((stride, size) for stride, size in zip(a.strides, a.shape, strict=True) if size > 1), reverse=True
    )
    dense = tuple(stride for stride, _ in axes) == row_major([size for _, size in axes])
    return dense and a.strides == b.strides and not (a.pieces or b.pieces)


def _in_rows(tensor: Tensor) -> bool:
    """Whether a row, which is not too long, can be read without the others."""
    short = tensor.nbytes // tensor.shape[0] <= _AT_ONCE
    return short and all(piece.contiguous for piece in tensor.pieces or (tensor,))


def _spanned(tensor: Tensor) -> int:
    """How many bytes are read for the whole tensor, or made of them."""
    spans = (span(t.shape, t.strides) for t in tensor.pieces or (tensor,))
    return max(tensor.nbytes, sum(spans) * tensor.nbytes // tensor.elements)


def _same_bytes(checkpoint: Checkpoint, a: Tensor, b: Tensor) -> bool:
    """Of tensors that are laid out alike, each in one piece: read stretch by stretch into the same memory."""
    left, right = bytearray(_BLOCK_BYTES), bytearray(_BLOCK_BYTES)
    with (
        open_file(checkpoint.root / a.storage.file, a.storage.file) as one,
        open_file(checkpoint.root / b.storage.file, b.storage.file) as other,
    ):
        for start, count in _stretches(a.nbytes):
            one.read_into(a.start + start, memoryview(left)[:count])
            other.read_into(b.start + start, memoryview(right)[:count])
            if left != right:  # behind a short stretch both hold what was equal before
                return False
    return True


def _stretches(size: int) -> Iterator[tuple[int, int]]:
    """(first byte, how many) of what is compared of so many bytes: a sample, then all unless they are too many."""
    if size > _SAMPLES * _SAMPLE_BYTES:
        yield from ((n * (size - _SAMPLE_BYTES) // (_SAMPLES - 1), _SAMPLE_BYTES) for n in range(_SAMPLES))
    if size <= _WHOLE_BYTES:
        yield from ((start, min(_BLOCK_BYTES, size - start)) for start in range(0, size, _BLOCK_BYTES))


def _same_rows(checkpoint: Checkpoint, a: Tensor, b: Tensor, *, at_once: bool = False) -> bool:
    """Of tensors that several processes wrote, or that are laid out each in its own way."""
    from weightsmith.checkpoint.data import TensorReader  # takes numpy, which nothing else here needs

    rows = a.shape[0]
    row = -(-a.nbytes // rows)
    with TensorReader(checkpoint) as reader:
        for start, count in [(0, a.nbytes)] if at_once else _stretches(a.nbytes):
            first, last = start // row, min(rows, -(-(start + count) // row))
            if reader.read_rows(a, first, last).tobytes() != reader.read_rows(b, first, last).tobytes():
                return False
    return True
