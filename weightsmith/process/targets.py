"""Output files that users name: `-` is stdout, a link is followed to its file, a pipe or a device is written into.

What could not be written is refused before hours of work, not after them.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from weightsmith.errors import TargetRefused
from weightsmith.process.durable import need_new_file, replacement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CHUNK = 1 << 20
# Descriptors of this process by their names. They are written into as they are: the file that a shell has sent stdout
# to is neither replaced nor emptied.
_NAMED = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_NUMBERED = re.compile(r"(?:/dev/fd|/proc/self/fd)/([0-9]{1,9})")


def is_stdout(target: Path | None) -> bool:
    """Whether an output goes where the command's own result goes."""
    return target is not None and _descriptor(target) == 1


def need_writable(target: Path) -> None:
    """Raises TargetRefused for an output that could not be written as things are, without touching what is there."""
    if _descriptor(target) is not None:
        return
    try:
        mode = _mode(target)
        if stat.S_ISDIR(mode):
            raise TargetRefused(target, "is a folder", "name a file in it")
        if not stat.S_ISREG(mode):
            if not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        folder = Path(os.path.realpath(target)).parent
        if not folder.is_dir():
            raise TargetRefused(target, "its folder does not exist", "make the folder or name another file")
        need_new_file(folder)
    except (OSError, ValueError) as error:
        raise _refused(target, error) from error


def need_other(target: Path, files: Iterable[Path], fact: str = "is a weights file of the model") -> None:
    """Raises TargetRefused where an output is one of these files: it would take their place. fact: what they are."""
    try:
        there = target.stat()
    except (OSError, ValueError):
        return
    for file in files:
        with suppress(OSError):
            if os.path.samestat(there, file.stat()):
                raise TargetRefused(target, fact, "name another file")


def write_output(target: Path, data: bytes) -> None:
    """Writes these bytes to an output. Raises TargetRefused; then a file that was there is as it was."""
    with output(target) as file:
        file.write(data)


def copy_output(made: Path, target: Path) -> None:
    """The same with the bytes of a file of ours. Memory: one chunk."""
    with made.open("rb") as file, output(target) as opened:
        shutil.copyfileobj(file, opened, _CHUNK)


@contextmanager
def output(target: Path) -> Iterator[IO[bytes]]:
    """As `write_output`: a file to fill. A regular one takes its place when the block ends without an exception.

    A pipe without a reader is refused, not waited for. Raises BrokenPipeError where the reader goes away.
    """
    try:
        opened = _opened(target)
        if opened is None:
            with replacement(Path(os.path.realpath(target))) as file:
                yield file
        else:
            with os.fdopen(opened, "wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise _refused(target, error) from error


def _descriptor(target: Path) -> int | None:
    """The descriptor of this process that the target names; None where it names none."""
    found = _NUMBERED.fullmatch(str(target))
    return int(found[1]) if found else _NAMED.get(str(target))


def _mode(target: Path) -> int:
    """What kind of thing is there, links followed; a regular file where there is nothing yet."""
    try:
        return target.stat().st_mode
    except FileNotFoundError:
        return stat.S_IFREG


def _opened(target: Path) -> int | None:
    """A descriptor of what takes bytes as they come; None for a file, which is replaced. Raises OSError."""
    own = _descriptor(target)
    if own is not None:
        if own == 1:
            sys.stdout.flush()
        return os.dup(own)
    if stat.S_ISREG(_mode(target)):
        return None
    descriptor = os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    os.set_blocking(descriptor, True)
    return descriptor


def _refused(target: Path, error: OSError | ValueError) -> TargetRefused:
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return TargetRefused(
            target, "is a pipe or a socket that nobody reads", "start its reader first, or name a file"
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return TargetRefused(target, f"cannot be written ({(reason or 'unknown').lower()})", "name another file")
