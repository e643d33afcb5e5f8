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
        (tensor.storage.file, tensor.start, tensor.start + _spanned(tensor), name)
        for name, tensor in checkpoint.tensors.items()
        if tensor.elements
    )
    groups: list[list[str]] = []
    last, end = "", 0
    for file, start, stop, name in runs:
        if file == last and start < end:
            groups[-1].append(name)
            end = max(end, stop)
        else:
            groups.append([name])
            last, end = file, stop
    return [tuple(group) for group in groups if len(group) > 1]


def _spanned(tensor: Tensor) -> int:
    """Bytes from the first to the last element, inclusive."""
    return (span(tensor.shape, tensor.strides) * BITS[tensor.dtype] + 7) // 8
