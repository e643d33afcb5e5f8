"""Makes a written folder durable and provable: read back, hashed, synced; and the source unchanged."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert.digests import digest
from weightsmith.errors import CorruptCheckpoint, WeightsmithError
from weightsmith.values.parallel import for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint, Tensor


_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Digests:
    """File name -> (bytes, hash), of what was read and of what was written."""

    source: Mapping[str, tuple[int, str]]
    output: Mapping[str, tuple[int, str]]


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


def sync_and_digest(
    folder: Path,
    weights: Sequence[str],
    written: Sequence[str],
    root: Path,
    read: Sequence[str],
    name: str,
    threads: int,
) -> Digests:
    """fsyncs the weights while everything is hashed: the disk and the processors work at the same time.

    weights: files of `folder` still to be synced. written, read: files to hash in `folder` and in `root`.
    """
    source: dict[str, tuple[int, str]] = {}
    output: dict[str, tuple[int, str]] = {}

    def hash_into(record: dict[str, tuple[int, str]], place: Path, file: str) -> None:
        record[file] = ((place / file).stat().st_size, digest(place / file, name, threads))

    jobs: list[Callable[[], None]] = [partial(_sync, folder / file) for file in weights]
    jobs += [partial(hash_into, output, folder, file) for file in written]
    jobs += [partial(hash_into, source, root, file) for file in read]
    # One thread more than processors: a sync waits for the disk alone.
    for_each(jobs, lambda: _call, threads + 1)
    return Digests(source, output)


def _call(job: Callable[[], None]) -> None:
    job()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamps(root: Path, files: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """What the file system says of each file: another stamp later means that somebody wrote to it."""
    result: dict[str, tuple[int, ...]] = {}
    for file in files:
        status = (root / file).stat()
        result[file] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return result
