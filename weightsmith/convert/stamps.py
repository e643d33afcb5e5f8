"""What the file system says of a file: another stamp later means another file, or that somebody wrote to it."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from weightsmith.checkpoint.file_bytes import unreadable
from weightsmith.checkpoint.names import quoted
from weightsmith.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.place import Place


class Stamp(NamedTuple):
    """device and inode: which file it is. nbytes, modified (ns): what its owner lets be seen of its bytes.

    changed (ns): when its bytes, its mode or its names last changed. Nobody can set it but by setting the clock.
    """

    device: int
    inode: int
    nbytes: int
    modified: int
    changed: int

    def same_bytes(self, other: Stamp | None) -> bool:
        """Whether it is the same file, not written to since; another name or mode does not matter."""
        return other is not None and self[:-1] == other[:-1]


def stamp_of(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def stamps(root: Place, files: Sequence[str]) -> dict[str, Stamp]:
    """Of each file. Raises MissingInput for one that cannot be looked at."""
    return {file: _stamp(root / file) for file in files}


def need_unchanged(root: Place, before: Mapping[str, Stamp], subject: Place) -> None:
    """Raises CorruptCheckpoint, about `subject`, where a file is not what it was, or is gone."""
    for file, stamp in before.items():
        try:
            now = _stamp_now(root / file)
        except OSError:
            now = None
        if not stamp.same_bytes(now):
            raise changed(subject, file)


def changed(subject: Place, file: str) -> CorruptCheckpoint:
    """The error line for a source that somebody writes to."""
    return CorruptCheckpoint(
        subject,
        f"changed while it was converted ({quoted(file)})",
        "let the download or the writer finish, then try again",
    )


def _stamp(path: Place) -> Stamp:
    try:
        return _stamp_now(path)
    except OSError as error:
        raise unreadable(str(path), error) from error


def _stamp_now(path: Place) -> Stamp:
    """Of a remote file what its server calls its state: a part of that which is read is compared with it each time."""
    if isinstance(path, Path):
        return stamp_of(os.stat(path))  # noqa: PTH116 - Path.stat is slower, and there may be many
    size, state = path.state()
    return Stamp(0, int.from_bytes(sha256(state.encode()).digest()[:7], "big"), size, 0, 0)
