"""Makes a written folder durable and provable: opened again; and the source unchanged."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import CorruptCheckpoint, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint, Tensor


_CHUNK = 1 << 20


def write_file(path: Path, data: bytes) -> None:
    """A new file with these bytes on the disk; its mode is what the umask leaves."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_file(source: Path, path: Path) -> None:
    """A new file with the bytes of another, on the disk; its mode is what the umask leaves. Memory: one chunk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as target, source.open("rb") as opened:
        shutil.copyfileobj(opened, target, _CHUNK)
        target.flush()
        os.fsync(target.fileno())


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
