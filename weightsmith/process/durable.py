"""Durable writes: a file or a folder appears whole or not at all, and what has appeared survives a power cut.

The bytes go into a new file beside the target, under a name that nobody can foresee; then come fsync, rename, and
fsync of the folder. The folder is held open by a descriptor meanwhile, and every step is taken relative to it. So
neither a link that waits in a stranger's folder nor a folder that is exchanged meanwhile sends a write elsewhere.
A new file's mode is what the umask leaves.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from weightsmith.process.signals import unwound_by_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ends the name of every file that is not whole yet: what a killed process left can be told by it.
PARTIAL = ".part"

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o666
_CHUNK = 1 << 20
# Of the target's name, in the partial file's: a name may have 255 bytes, and a character up to four.
_NAME_CHARACTERS = 40


def replace_file(path: Path, data: bytes) -> None:
    """Puts a file with these bytes at `path`, in place of what is there. Raises OSError; then nothing has changed.

    A link is replaced, not followed: where users name the file, `process.targets` is meant.
    """
    with replacement(path) as file:
        file.write(data)


@contextmanager
def replacement(path: Path) -> Iterator[IO[bytes]]:
    """As `replace_file`: an empty file to fill, which takes its place when the block ends without an exception."""
    with _staged(path) as staged, _created(*staged) as file:
        yield file


def place_file(opened: int, path: Path) -> None:
    """Puts an opened regular file at `path` too, in place of what is there. Nobody may write to either afterwards.

    opened: its descriptor, whose position is moved. Where both lie on one file system the two are one file with two
    names, and no byte is copied.
    """
    with _staged(path) as (folder, name):
        try:
            # What was opened and looked at, whatever has its name by now.
            os.link(f"/proc/self/fd/{opened}", name, dst_dir_fd=folder, follow_symlinks=True)
        except OSError:
            os.lseek(opened, 0, os.SEEK_SET)
            with os.fdopen(os.dup(opened), "rb") as source, _created(folder, name) as file:
                shutil.copyfileobj(source, file, _CHUNK)
            return
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """An empty file to fill, at a name that is free. Raises FileExistsError. An exception in the block removes it.

    Its bytes are on the disk at the end. Its name is once the folder is: see `sync_folder`.
    """
    with _opened_folder(path.parent) as folder, _created(folder, path.name) as file:
        yield file


def create_file(path: Path, data: bytes) -> None:
    """As `new_file`, with these bytes."""
    with new_file(path) as file:
        file.write(data)


def claim_file(path: Path, data: bytes) -> bool:
    """Puts a file with these bytes at `path` where nothing is yet. Of several processes that do so one succeeds.

    The file appears whole, also to those who come too late. Raises OSError.
    """
    with _opened_folder(path.parent) as folder:
        name = f".{path.name[:_NAME_CHARACTERS]}.{secrets.token_hex(8)}{PARTIAL}"
        with _created(folder, name) as file:
            file.write(data)
        try:
            os.link(name, path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return False
        finally:
            os.unlink(name, dir_fd=folder)
        _sync_names(folder)
    return True


def move_file(file: Path, target: Path) -> None:
    """Renames a file that is on the disk to `target`, in place of what is there; both lie on one file system."""
    with _opened_folder(target.parent) as folder:
        os.rename(file, target.name, dst_dir_fd=folder)
        _sync_names(folder)


def need_new_file(folder: Path) -> None:
    """Makes a file in a folder and removes it. Raises OSError where that cannot be done."""
    with _opened_folder(folder) as descriptor:
        name = f".{secrets.token_hex(8)}{PARTIAL}"
        os.close(os.open(name, _NEW, _MODE, dir_fd=descriptor))
        os.unlink(name, dir_fd=descriptor)


def append(path: Path, data: bytes) -> None:
    """Adds bytes to the end of a file that is there; they are on the disk when the call returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "ab") as file:
        file.write(data)
        _sync(file)


def sync_folder(folder: Path) -> None:
    """Brings the names in a folder to the disk."""
    with _opened_folder(folder) as descriptor:
        _sync_names(descriptor)


def move_folder(folder: Path, target: Path) -> None:
    """Renames a folder to `target`, which lies beside it and is absent or an empty folder.

    Raises OSError with ENOTEMPTY, EEXIST or ENOTDIR where `target` is something else.
    """
    with _opened_folder(target.parent) as parent:
        os.rename(folder.name, target.name, src_dir_fd=parent, dst_dir_fd=parent)
        _sync_names(parent)


def through_descriptor(descriptor: int, folder: Path) -> Path:
    """A path to an opened folder that stays its own, whatever becomes of its name; `folder` where there is no /proc."""
    through = Path(f"/proc/self/fd/{descriptor}")
    return through if through.exists() else folder


@contextmanager
def _staged(path: Path) -> Iterator[tuple[int, str]]:
    """The descriptor of the target's folder, and a free name in it; the file made there becomes `path` at the end."""
    with unwound_by_signals(), _opened_folder(path.parent) as folder:
        name = f".{path.name[:_NAME_CHARACTERS]}.{secrets.token_hex(8)}{PARTIAL}"
        try:
            yield folder, name
            os.rename(name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            # Also after a rename: between two names of one file it does nothing, and says that it worked.
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
        _sync_names(folder)


@contextmanager
def _created(folder: int, name: str) -> Iterator[IO[bytes]]:
    """A new file in an opened folder, on the disk at the end, removed after an exception."""
    descriptor = os.open(name, _NEW, _MODE, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            _sync(file)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_names(folder: int) -> None:
    """Some network file systems take no fsync of a folder; there the rename itself has to do."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
