"""What dead runs left beside a target: found, removed, or taken over by the run that goes on with it."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.checkpoint.sub_folders import is_sub_file, is_sub_folder, names_below
from weightsmith.convert.finish.journal import work_of
from weightsmith.errors import TargetRefused
from weightsmith.process.durable import through_descriptor

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

# Present in every staging folder until the moment before its rename: only a folder with it (or with a
# finished manifest) is ever taken for a leftover of ours. It is the journal of what is finished.
MARKER = ".weightsmith-staging"

# Eight hexadecimal digits follow.
STAGING = ".{}.weightsmith-"


def clean_leftovers(target: Path, kept: Path | None = None) -> list[str]:
    """Removes staging folders that killed runs for this target left, but `kept`; the names of those removed.

    Only a folder with our name for this target, our marker or manifest, our user and no living owner is
    removed: the owner holds a lock on its folder that the kernel drops when it dies. Raises TargetRefused
    when an owner lives.
    """
    removed = []
    for path in _stagings(target):
        if path == kept:
            continue
        with suppress(OSError):
            lock = _open(path)
            try:
                if _is_leftover(path, lock):
                    remove(path, lock)
                    removed.append(path.name)
            finally:
                os.close(lock)
    return removed


def adopt(target: Path, work: str) -> tuple[Path, int] | None:
    """The private folder in which a killed run did the same work, and a descriptor that holds its lock; else None.

    Raises TargetRefused when its owner lives, or others may have written to it.
    """
    for path in _stagings(target):
        with suppress(OSError):
            lock = _open(path)
            try:
                journal = through_descriptor(lock, path) / MARKER
                if _is_leftover(path, lock) and work_of(journal) == work:
                    _need_private(path, lock)
                    return path, os.dup(lock)
            finally:
                os.close(lock)
    return None


def clear(folder: Path, kept: Collection[str]) -> None:
    """Removes everything in `folder` but the files named in `kept`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in os.listdir(descriptor):  # noqa: PTH208 - pathlib knows no descriptors
            if name not in kept:
                _remove_one(name, descriptor)
    finally:
        os.close(descriptor)


def remove(folder: Path, descriptor: int) -> None:
    """Removes an opened folder with the files in it, and in the known folders in it.

    What marks it goes last: who is killed here leaves a folder that the next run still knows. Raises OSError where it
    holds another folder that is not empty.
    """
    for name in sorted(os.listdir(descriptor), key=lambda name: name in (MARKER, MANIFEST)):
        _remove_one(name, descriptor)
    folder.rmdir()


def _remove_one(name: str, above: int) -> None:
    """Removes a file, an empty folder, or a known folder with the files in it."""
    try:
        os.unlink(name, dir_fd=above)
    except IsADirectoryError:
        for file in names_below(above, name) if is_sub_folder(name) else ():
            os.unlink(f"{name}/{file}", dir_fd=above)
        os.rmdir(name, dir_fd=above)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _stagings(target: Path) -> list[Path]:
    pattern = re.compile(re.escape(STAGING.format(target.name)) + "[0-9a-f]{8}")
    try:
        return [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]
    except OSError:
        return []


def _need_private(path: Path, descriptor: int) -> None:
    """Raises TargetRefused where others could have entered it: we make no such folder, an archive may bring one."""
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
        raise TargetRefused(
            path, "is open to other users, so what is in it may be theirs", "run again without --resume"
        )


def _is_leftover(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TargetRefused(
            path, "another conversion to the same target is running", "wait for it or name another folder"
        ) from error
    if os.fstat(descriptor).st_uid != os.geteuid():
        return False
    with os.scandir(descriptor) as entries:
        is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    # We make files, known folders, and for a moment an empty folder: anything else is somebody else's.
    if any(_is_strange(name, descriptor) for name, found in is_folder.items() if found):
        return False
    emptied = all(is_sub_folder(name) and not names_below(descriptor, name) for name in is_folder)
    return emptied or MARKER in is_folder or MANIFEST in is_folder


def _is_strange(name: str, above: int) -> bool:
    """Whether a folder holds anything that we do not put there."""
    return not all(is_sub_file(f"{name}/{file}") for file in names_below(above, name))
