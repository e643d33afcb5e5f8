"""The one opener of every file that is no weights: configs, tokenizers, cards, code, manifests, prompts, caches.

A file of this name may be anything by now: a pipe, a device, terabytes of holes, a link to somebody's keys. So it is
opened without waiting, looked at through its descriptor, and bounded before a byte of it is read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.file_bytes import ByteFile, unreadable
from weightsmith.checkpoint.place import open_file
from weightsmith.errors import HostileCheckpoint, InvalidConfig, MissingInput

if TYPE_CHECKING:
    from weightsmith.checkpoint.place import Place

# Of a tokenizer's file, whatever its kind: the largest published ones have 33 MB.
LARGEST_TOKENIZER = 128 << 20
_INSTEAD = "remove it, or put the file itself in its place"
_RIGHT_ONE = "put the right file in its place"


def open_named(path: Place) -> ByteFile:
    """A file that the user named: links are followed. Raises MissingInput where it is no readable regular file."""
    return open_file(path, path.name, instead="name a file")


def open_own(path: Place) -> ByteFile:
    """A file of the folder that it lies in, such as a checkpoint's config.json.

    A link is followed within that folder and, in a hub cache, to the repository's own blobs: a downloaded folder must
    not be able to name other files of this machine. What is judged is what was opened, whatever becomes of the name.

    Raises MissingInput where it is no readable regular file, HostileCheckpoint where it is a link that leads out.
    """
    file = open_file(path, path.name, instead=_INSTEAD)
    if not isinstance(path, Path):
        return file  # its folder is a list of names, and none of them a link
    try:
        _need_own(path, file)
    except BaseException:
        file.close()
        raise
    return file


def open_small(path: Place, largest: int, *, named: bool = False) -> ByteFile:
    """A file of at most `largest` bytes.

    named: as `open_named`, else as `open_own`, whose errors it raises; InvalidConfig for a larger file.
    """
    file = open_named(path) if named else open_own(path)
    if file.size > largest:
        file.close()
        raise InvalidConfig(path, f"has {file.size:,} bytes, more than {largest:,}", _RIGHT_ONE)
    return file


def read_small(path: Place, largest: int, *, named: bool = False) -> bytes:
    """All bytes of such a file. Raises as `open_small`."""
    with open_small(path, largest, named=named) as file:
        return file.read(0, file.size)


def is_there(path: Place) -> bool:
    """Whether something has this name, be it a link to nowhere: it is opened then, and its fault is told."""
    if not isinstance(path, Path):
        return path.is_file()
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def listed(folder: Place) -> list[str]:
    """The names in a folder, in order. Raises MissingInput where it cannot be read."""
    return sorted(_names(folder))


def names_in(folder: Place) -> list[str]:
    """The same in no order, for those who can do without: none where it cannot be read."""
    try:
        return _names(folder)
    except MissingInput:
        return []


def _names(folder: Place) -> list[str]:
    if not isinstance(folder, Path):
        return folder.names()
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are all that is needed
    except OSError as error:
        raise unreadable(folder, error) from error


def is_own(target: str | Path, folder: Path) -> bool:
    """Whether a path without links lies in the folder, or among the blobs of the folder's repository in a hub cache."""
    real, home = Path(target), Path(os.path.realpath(folder))
    if home in real.parents:
        return True
    # The hub cache: models--owner--name/snapshots/<commit>/[…/]file -> […/]../../blobs/<hash>.
    return any(
        above.parent.name == "snapshots" and real.parent == above.parent.parent / "blobs"
        for above in (home, *home.parents)
    )


def _need_own(path: Path, file: ByteFile) -> None:
    opened = os.fstat(file.fd)
    if _is(path, opened):
        return
    real = os.path.realpath(path)
    if not (is_own(real, path.parent) and _is(real, opened)):
        raise HostileCheckpoint(path, f"is a link that leads out of its folder, to {real}", _INSTEAD)


def _is(path: str | Path, opened: os.stat_result) -> bool:
    """Whether the file of this name, no link, is the one that was opened."""
    try:
        return os.path.samestat(os.lstat(path), opened)
    except OSError:
        return False
