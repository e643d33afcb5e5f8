"""One regular file, opened once: its size, and the bytes at an offset or one clear line why not."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, NoReturn

from weightsmith.errors import CorruptCheckpoint, MissingInput, WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path


# How the text begins that git leaves where a large file was not downloaded.
LFS_POINTER = b"version https://git-lfs"
_PAGE_STARTS_WITHIN = 256
# The way out where a web page was saved under a file's name.
DOWNLOAD_ITSELF = (
    "download the file itself (on a hub: the `resolve` link, with a token where the model is gated)"
)

# A file of more bytes must have written one of so many: weights that a file system packs well keep a third.
_MAY_BE_HOLES = 1 << 30
_LEAST_SHARE = 64
# Stretches of data between holes that are looked at.
_MOST_STRETCHES = 10_000


# What pathlib makes of an address.
_LOST_A_SLASH = re.compile(r"(hf|modelscope|https?|s3|oss):/(?!/)", re.IGNORECASE)

# What is said of a name, a file or a right to it. Other errors are said of the disk and the system.
_OF_THE_FILE = frozenset(
    {
        errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR,
        errno.ENAMETOOLONG,
    }
)  # fmt: skip


def is_web_page(head: bytes) -> bool:
    """Whether a file that begins so is HTML or XML."""
    begins = head[:_PAGE_STARTS_WITHIN].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return begins.startswith((b"<!doctype", b"<html", b"<?xml"))


def system_failed(error: WeightsmithError) -> bool:
    """Whether a file could not be read because the system failed, which says nothing about the file."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno not in _OF_THE_FILE


def unreadable(path: Path | str, error: OSError | ValueError) -> MissingInput:
    """The error line for a path that the system will not open."""
    text = str(path)
    if isinstance(error, FileNotFoundError) and os.path.islink(text):  # noqa: PTH114 - no pathlib on a bad path
        return MissingInput(
            text,
            "is a symbolic link whose target is gone",
            "the cache that it points into was pruned or moved; download the file again",
        )
    if isinstance(error, FileNotFoundError):
        way_out = "name a checkpoint folder, weights file or index, or an address such as hf://OWNER/NAME"
        if _LOST_A_SLASH.match(text):
            way_out = "an address has two slashes, as in hf://OWNER/NAME (pathlib.Path takes one away: give it as text)"
        return MissingInput(text, "no such file or folder", way_out)
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return MissingInput(text, "is no regular file", "put a file in its place")
    if isinstance(error, PermissionError):
        return MissingInput(text, "may not be read (permission denied)", "ask its owner or change its mode")
    reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
    return MissingInput(text, f"cannot be read ({reason.lower()})", "check the path and the disk")


def need_folder(path: Path, way_out: str) -> None:
    """Raises MissingInput where the path is no folder."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - Path.is_dir swallows some reasons and raises others
    except FileNotFoundError:
        mode = 0
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISDIR(mode):
        raise MissingInput(path, "is no folder", way_out)


class ByteFile:
    """An open regular file, or a section of one. `subject` names it in errors, `name` is what the tensor table
    calls it; `origin` is the byte of the file where it begins."""

    __slots__ = ("fd", "name", "origin", "size", "subject")

    # Whether each read asks a server: what can be told without one is then told so.
    costly = False

    def __init__(
        self, path: Path, name: str, *, instead: str = "name a checkpoint folder or a weights file"
    ) -> None:
        """Raises MissingInput where the path is absent, unreadable or no regular file; `instead` is the way out."""
        self.subject, self.name, self.origin = str(path), name, 0
        try:
            # O_NONBLOCK: opening a FIFO that somebody put there must not hang; it changes nothing for files.
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        try:
            status = os.fstat(self.fd)
        except OSError as error:
            self.close()
            raise unreadable(path, error) from error
        self.size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise MissingInput(path, "is no regular file", instead)

    def __enter__(self) -> ByteFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def identity(self) -> object:
        """Equal for two names of one file."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    def holds(self, _start: int, _count: int) -> bool:
        """Whether these bytes can be read without asking a server."""
        return True

    def alone(self) -> ByteFile:
        """The same file, of which a read of few bytes brings no others along."""
        return self

    def section(self, start: int, size: int) -> ByteFile:
        """`size` bytes from byte `start` as a file of their own. It shares the descriptor: close only the whole.

        Raises CorruptCheckpoint when the file ends before.
        """
        if start < 0 or size < 0 or start + size > self.size:
            self._ends_before(start, size)
        part = ByteFile.__new__(ByteFile)
        part.fd, part.name, part.subject = self.fd, self.name, self.subject
        part.origin, part.size = self.origin + start, size
        return part

    def read(self, start: int, count: int) -> bytes:
        """Exactly `count` bytes from byte `start`.

        Raises CorruptCheckpoint when the file ends before, MissingInput when the disk fails.
        """
        if start < 0 or count < 0 or start + count > self.size:
            self._ends_before(start, count)
        buffer = bytearray(count)
        self.read_into(start, memoryview(buffer))
        return bytes(buffer) if count else b""

    def read_into(self, start: int, view: memoryview) -> None:
        """Fills `view` (bytes, writable) from byte `start`. Raises as `read` does."""
        done = 0
        while done < len(view):
            try:
                # Linux moves at most 0x7ffff000 bytes a call; the loop takes the rest.
                got = os.preadv(self.fd, [view[done:]], self.origin + start + done)
            except OSError as error:
                raise unreadable(self.subject, error) from error
            if not got:
                raise CorruptCheckpoint(
                    self.subject,
                    f"the file changed while it was read: it now ends at byte {start + done:,}",
                    "let the download or the writer finish, then try again",
                )
            done += got

    def written(self, enough: int) -> int:
        """Bytes outside of holes, counted until there are `enough`. Where the file system knows no holes, all are."""
        found, at = 0, self.origin
        end = at + self.size
        try:
            for _ in range(_MOST_STRETCHES):
                if found >= enough or at >= end:
                    return found
                start = os.lseek(self.fd, at, os.SEEK_DATA)
                at = os.lseek(self.fd, start, os.SEEK_HOLE)
                found += at - start
        except OSError as error:
            # ENXIO: nothing but holes from here on. Another error: no such question here.
            return found if error.errno == errno.ENXIO else enough
        return enough  # so many stretches were written one by one

    def need_data(self) -> None:
        """Raises CorruptCheckpoint for a large file that is nearly all holes, as a download leaves that has just begun.

        Work that is in proportion to what `size` says is thus in proportion to what lies on the disk.
        """
        enough = self.size // _LEAST_SHARE
        if self.size <= _MAY_BE_HOLES or (data := self.written(enough)) >= enough:
            return
        raise CorruptCheckpoint(
            self.subject,
            f"has {self.size:,} bytes, and all but {data:,} are holes that were never written",
            "download it again",
        )

    def _ends_before(self, start: int, count: int) -> NoReturn:
        raise CorruptCheckpoint(
            self.subject,
            f"ends at byte {self.origin + self.size:,} but {count:,} bytes at {self.origin + start:,} are needed",
            "the file is truncated; download it again",
        )


def too_big(subject: str, what: str, count: int) -> WeightsmithError:
    """The error line for something that needs `count` bytes of memory."""
    return WeightsmithError(
        subject, f"{what} needs {count:,} bytes of memory, more than there is", "use a machine with more"
    )
