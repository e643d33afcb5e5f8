"""Which tensors of a checkpoint lie in the same bytes (tied weights). Needs headers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.layout import span

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Checkpoint, Tensor


def shared_groups(checkpoint: Checkpoint) -> list[tuple[str, ...]]:
    """Names of tensors whose byte ranges overlap in one file, in file order; tied weights are such a group.

    A strided view counts from its first to its last byte: interleaved columns of one storage are a group too.
    """
    runs = sorted(
        (part.storage.file, part.start, part.start + _spanned(part), name)
        for name, tensor in checkpoint.tensors.items()
        for part in tensor.pieces or (tensor,)
        if part.elements
    )
    groups: list[dict[str, None]] = []
    last, end = "", 0
    for file, start, stop, name in runs:
        if file == last and start < end:
            groups[-1][name] = None
            end = max(end, stop)
        else:
            groups.append({name: None})
            last, end = file, stop
    # Two tensors of many blocks share some in each of many places.
    return list(dict.fromkeys(tuple(group) for group in groups if len(group) > 1))


def _spanned(tensor: Tensor) -> int:
    """Bytes from the first to the last element, inclusive."""
    return (span(tensor.shape, tensor.strides) * BITS[tensor.dtype] + 7) // 8
