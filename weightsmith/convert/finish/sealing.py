"""Proves what was written by opening it again, and tells whether the source has changed meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import CorruptCheckpoint, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint, Tensor


def verify(folder: Path, table: Checkpoint) -> None:
    """Opens the written weights like any stranger's. Raises CorruptCheckpoint when they are not what was planned."""
    try:
        found = open_checkpoint(folder)
    except WeightsmithError as error:
        raise CorruptCheckpoint(table.path, f"does not read back ({error})", "check the disk") from error
    if dict(found.files) != dict(table.files) or _facts(found) != _facts(table):
        raise CorruptCheckpoint(table.path, "reads back other than it was planned", "check the disk")


def _facts(checkpoint: Checkpoint) -> dict[str, tuple[object, ...]]:
    return {name: _fact(tensor) for name, tensor in checkpoint.tensors.items()}


def _fact(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, tensor.storage.file, tensor.start


def stamps(root: Path, files: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """What the file system says of each file: another stamp later means that somebody wrote to it."""
    result: dict[str, tuple[int, ...]] = {}
    for file in files:
        status = (root / file).stat()
        result[file] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return result
