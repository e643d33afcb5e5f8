"""A place: a local path, or an address. What every room asks of either, and the only door to remote files.

A local path goes the way that it always went, and loads nothing of the other.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.checkpoint.file_bytes import ByteFile, unreadable
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.checkpoint.remote.path import RemotePath

    Place: TypeAlias = Path | RemotePath
    AnyPlace: TypeAlias = str | os.PathLike[str] | RemotePath

_SCHEMES = ("hf:", "modelscope:", "http:", "https:", "s3:", "oss:")
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def located(given: AnyPlace) -> Place:
    """The place that a text or a path names. Nobody is asked.

    Raises MissingInput for an address that is none, and, offline, for what no cache has.
    """
    if isinstance(given, str) and names_remote(given):
        from weightsmith.checkpoint.remote.path import remote_place

        return remote_place(given)
    return Path(given) if isinstance(given, str | os.PathLike) else given


def names_remote(text: str) -> bool:
    """Whether a text is an address, right or wrong, and no path of this machine."""
    return "://" in text and text.lower().startswith(_SCHEMES)


def open_file(
    place: Place, name: str, *, instead: str = "name a checkpoint folder or a weights file"
) -> ByteFile:
    """The regular file at a place, see `ByteFile`; also of a remote one, whose server is asked.

    Raises MissingInput; of a remote one also CorruptCheckpoint and HostileCheckpoint, see `remote.content`.
    """
    return ByteFile(place, name, instead=instead) if isinstance(place, Path) else place.opened(name)


def is_folder(place: Place) -> bool:
    """Raises MissingInput where nothing is there."""
    if not isinstance(place, Path):
        return place.is_folder()
    try:
        return stat.S_ISDIR(os.stat(place).st_mode)  # noqa: PTH116 - Path.is_dir swallows the reason
    except (OSError, ValueError) as error:
        raise unreadable(place, error) from error


def is_absent(place: Place) -> bool:
    """Whether there is no such file. Where the system cannot say, it is opened, and its fault is told."""
    if not isinstance(place, Path):
        return not place.is_file()
    try:
        os.stat(place)  # noqa: PTH116 - as fast as it can be, for thousands of shards
    except OSError as error:
        return error.errno in _ABSENT
    return False


def is_regular(place: Place) -> bool:
    """Whether there is a regular file, links followed. Raises MissingInput where the system cannot say."""
    if not isinstance(place, Path):
        return place.is_file()
    try:
        return stat.S_ISREG(place.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(place, error) from error


def folders_in(place: Place) -> list[str]:
    """Names of the folders in a folder, in order; none where it cannot be read. Files cost nothing."""
    if not isinstance(place, Path):
        return place.folders()
    with suppress(OSError), os.scandir(place) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())
    return []


def file_size(place: Place) -> int:
    """Bytes of a file; 0 where nobody can say: it is opened then, and its fault is told."""
    try:
        return place.stat().st_size if isinstance(place, Path) else place.size()
    except (OSError, MissingInput):
        return 0


def same_place(one: Place, other: Place) -> bool:
    """Whether two names are of one folder or file that is there. Raises OSError for a local one that is not."""
    if isinstance(one, Path) and isinstance(other, Path):
        return one.samefile(other)
    return one == other


def is_link(place: Place) -> bool:
    """Whether it is a symbolic link, which may lead anywhere."""
    return isinstance(place, Path) and place.is_symlink()


def local_folder(place: Place, what: str) -> Path:
    """A place on this machine. Raises MissingInput for a remote one: what takes a folder that is here."""
    if isinstance(place, Path):
        return place
    way_out = "download it first (`hf download`, `modelscope download`), or `weightsmith convert` it"
    raise MissingInput(place, f"is remote, and {what} takes a folder of this machine", way_out)


def need_reached(place: Place) -> None:
    """Raises what a read of a remote folder failed with, where somebody went on without the file: see `Reach`."""
    if not isinstance(place, Path) and place.home.reach.fault is not None:
        raise place.home.reach.fault


def prefetch(root: Place, files: Iterable[str]) -> None:
    """Asks for the beginnings of many remote files side by side; local ones are read when they are opened."""
    if not isinstance(root, Path):
        inside = f"{root.inner}/" if root.inner else ""
        root.home.prefetch(f"{inside}{file}" for file in files)
