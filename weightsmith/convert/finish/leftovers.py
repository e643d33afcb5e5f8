"""What dead runs left beside a target: found, removed, or taken over by the run that goes on with it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.convert.finish.journal import work_of
from weightsmith.errors import TargetRefused

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
                    shutil.rmtree(path)
                    removed.append(path.name)
            finally:
                os.close(lock)
    return removed


def adopt(target: Path, work: str) -> tuple[Path, int] | None:
    """The private folder in which a killed run did the same work, and a descriptor that holds its lock; else None.

    Raises TargetRefused when its owner lives.
    """
    for path in _stagings(target):
        with suppress(OSError):
            lock = _open(path)
            if _is_leftover(path, lock) and _is_private(lock) and work_of(path / MARKER) == work:
                return path, lock
            os.close(lock)
    return None


def clear(folder: Path, kept: Collection[str]) -> None:
    """Removes everything in `folder` but the files named in `kept`."""
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _stagings(target: Path) -> list[Path]:
    pattern = re.compile(re.escape(STAGING.format(target.name)) + "[0-9a-f]{8}")
    try:
        return [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]
    except OSError:
        return []


def _is_private(descriptor: int) -> bool:
    """Whether nobody else could have entered it: what an archive brings, or an older version made, is another mode."""
    return not stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077


def _is_leftover(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TargetRefused(
            path, "another conversion to the same target is running", "wait for it or name another folder"
        ) from error
    if os.fstat(descriptor).st_uid != os.geteuid():
        return False
    names = os.listdir(descriptor)
    return not names or MARKER in names or MANIFEST in names
