"""Proves what was written: the weights by opening them again, everything else by reading it again."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.hashing import file_hash
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.sub_folders import with_sub_files
from weightsmith.errors import CorruptCheckpoint, TargetRefused, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.finish.staging import StagingFolder


@dataclass(frozen=True, slots=True)
class Written:
    """A file of the output. known: the hash of the bytes that we wrote, where the file is to be read again."""

    nbytes: int
    known: str | None = None


def verify(folder: Path, table: Checkpoint) -> None:
    """Opens the written weights like any stranger's. Raises CorruptCheckpoint when they are not what was planned."""
    try:
        found = open_checkpoint(folder)
    except WeightsmithError as error:
        raise CorruptCheckpoint(table.path, f"does not read back ({error})", "check the disk") from error
    if dict(found.files) != dict(table.files) or _facts(found) != _facts(table):
        raise CorruptCheckpoint(table.path, "reads back other than it was planned", "check the disk")


def verify_file(found: Checkpoint, file: str, table: Checkpoint) -> None:
    """The same of one weights file, opened by itself. Raises CorruptCheckpoint."""
    planned = {name: _fact(tensor) for name, tensor in table.tensors.items() if tensor.storage.file == file}
    if dict(found.files) != {file: table.files[file]} or _facts(found) != planned:
        raise CorruptCheckpoint(table.path, f"{file} reads back other than it was planned", "check the disk")


def _facts(checkpoint: Checkpoint) -> dict[str, tuple[object, ...]]:
    return {name: _fact(tensor) for name, tensor in checkpoint.tensors.items()}


def _fact(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, tensor.storage.file, tensor.start


def need_planned(
    folder: StagingFolder, target: Place, planned: Mapping[str, Written], hash_name: str
) -> None:
    """Raises TargetRefused where anything is in the folder that was not planned, or is not what was written there.

    planned: name -> what it must be. The bytes of what has a hash are read again; weights are read by `verify`.
    """
    for name in sorted({*with_sub_files(folder.descriptor), *planned}):
        expected = planned.get(name)
        if expected is None or not _is_written(folder, name, expected, hash_name):
            what = "was put into" if expected is None else "was changed in"
            raise TargetRefused(
                target,
                f"{quoted(name)} {what} its unfinished folder by another program",
                f"keep others out of {folder.named.parent} and run again",
            )


def _is_written(folder: StagingFolder, name: str, expected: Written, hash_name: str) -> bool:
    try:
        status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_size != expected.nbytes:
            return False
        return expected.known is None or file_hash(folder.path / name, hash_name) == expected.known
    except (OSError, WeightsmithError):
        return False
