"""A temporary folder that only this user may enter, and the one line where there is no room for it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "weightsmith-"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
# In each of these folders, and locked until the process that made it is gone. Its text names the running kernel: on
# file systems that several machines share, locks need not.
_OWNED = ".weightsmith-scratch"
_KERNEL = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def scratch_folder(prefix: str = PREFIX) -> Iterator[Path]:
    """A new folder in TMPDIR, gone with all that is in it when the block ends.

    A process that is killed by SIGKILL leaves its folder. The next one that makes such a folder removes it.
    prefix: of its name; begins with PREFIX.

    Raises TargetRefused where it cannot be made, or the block finds no room in it.
    """
    try:
        _remove_abandoned(Path(tempfile.gettempdir()))
        made = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise _refused(os.environ.get("TMPDIR") or "/tmp", error) from error
    with made as name:
        try:
            with _owned(Path(name)):
                yield Path(name)
        except OSError as error:
            if error.errno in _NO_ROOM or str(error.filename or "").startswith(name):
                raise _refused(name, error) from error
            raise


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Marks a new folder as ours for as long as the block runs. The mark appears when it is locked, not before.

    Where it cannot be made or locked, the folder goes without: nobody will remove it for us.
    """
    unlocked = folder / f"{_OWNED}.new"
    with ExitStack() as held:
        with suppress(OSError):
            mark = os.open(unlocked, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            held.callback(os.close, mark)
            os.write(mark, _kernel())
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(folder / _OWNED)
        yield


def _remove_abandoned(temporary: Path) -> None:
    """Removes folders of this user that have our mark, and whose process is gone. What cannot be read is left."""
    with suppress(OSError), os.scandir(temporary) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    if _is_abandoned(entry):
                        shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    """Raises OSError where a living process holds its lock, and where there is no mark."""
    about = entry.stat(follow_symlinks=False)
    if about.st_uid != os.geteuid() or about.st_mode & 0o077:
        return False
    mark = os.open(Path(entry.path, _OWNED), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here = _kernel()
        return bool(here) and os.read(mark, len(here) + 1) == here
    finally:
        os.close(mark)


def _kernel() -> bytes:
    """What no other running kernel calls itself; empty where it has no name."""
    try:
        return _KERNEL.read_bytes()
    except OSError:
        return b""


def _refused(place: str, error: OSError) -> TargetRefused:
    reason = (error.strerror or "unknown").lower()
    return TargetRefused(place, f"cannot be written ({reason})", "set TMPDIR to a folder with room")
