"""A file that is written and hashed in the order of its bytes, past the page cache where it can be."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.hashing import new_hasher
from weightsmith.convert.stream.disk import BLOCK, WINDOW, go_through_cache, is_direct, open_direct, write_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from weightsmith.checkpoint.hashing import Hasher
    from weightsmith.convert.stream.disk import Disk, Room

# Through the page cache the disk is set to work once per so many bytes, and not only by the last fsync.
_SYNC_BYTES = 64 << 20


def allocate(path: Path, nbytes: int) -> None:
    """Makes a new file and allocates its space, so that a full disk is found now and not after minutes of work."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.posix_fallocate(descriptor, 0, nbytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(descriptor, nbytes)
    finally:
        os.close(descriptor)


class Stream:
    """Takes the bytes of an allocated file from one thread at a time, each byte once.

    Bytes that come in order are hashed from memory. The disk's threads write them: gathered into aligned windows,
    or from where they lie, in a room of the disk's. Bytes that come before their turn are written where they
    belong at once, noted, and read back for the hash when their turn is there; such a file goes through the page
    cache, because no block may be written both ways. A file is open only from its first byte to its last.
    """

    def __init__(
        self,
        path: Path,
        nbytes: int,
        hash_name: str,
        disk: Disk,
        finished: Callable[[str, int, str], None] = lambda file, nbytes, hexdigest: None,
    ) -> None:
        """finished: called with name, bytes and hash when the whole file is on the disk, from a thread of it."""
        self._path, self._nbytes, self._disk, self._finished = path, nbytes, disk, finished
        self._hasher: Hasher = new_hasher(hash_name)
        self._descriptor = -1
        self._next = self._unsynced = 0
        self._window: NDArray[np.uint8] | None = None
        self._filled = 0
        self._writing: list[Future[None]] = []
        self._early: dict[int, int] = {}
        self._sealing: Future[str] | None = None

    def write(self, start: int, data: NDArray[np.uint8]) -> None:
        """Takes the bytes of the file from byte `start` on. The last byte of the file seals it.

        Raises OSError, also for what the disk's threads met since the last call.
        """
        if not len(data):
            return
        self._open()
        if start != self._next:
            self._write_early(start, data)
            return
        self._append(data)
        self._go_on()

    def take(self, start: int, room: Room) -> None:
        """As `write`, of bytes that are written from where they lie. The room is the disk's again."""
        self._open()
        if start != self._next:
            self._write_early(start, room.data)
            self._disk.give_back(room)
            return
        self._pass_on(room)
        self._go_on()

    @property
    def is_whole(self) -> bool:
        """Whether its last byte was given."""
        return self._sealing is not None

    def sealed(self) -> str:
        """Waits until the whole file is on the disk; its hexadecimal hash.

        Raises OSError, and ValueError when some byte was never given.
        """
        if self._sealing is None:
            raise ValueError(f"{self._path.name}: given up to byte {self._next:,} of {self._nbytes:,}")
        return self._sealing.result()

    def close(self) -> None:
        """Closes a file that was not finished; a finished one is closed already."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        if self._descriptor < 0:
            self._descriptor = open_direct(str(self._path), os.O_RDWR | os.O_NOFOLLOW)

    def _go_on(self) -> None:
        """After bytes that came in order: those that came early and follow them, and the end of the file."""
        while (count := self._early.pop(self._next, None)) is not None:
            self._catch_up(count)
        if self._next == self._nbytes:
            self._sealing = self._finish()

    def _append(self, data: NDArray[np.uint8]) -> None:
        done = 0
        while done < len(data):
            if self._window is None:
                self._window = self._disk.window()
            part = data[done : done + WINDOW - self._filled]
            # A part at a time, so that the copy finds in a cache what the hash has read.
            self._hasher.update(part.data)
            self._window[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            self._next += len(part)
            done += len(part)
            if self._filled == WINDOW:
                self._flush()

    def _pass_on(self, room: Room) -> None:
        """Whole blocks go to the disk as they lie, the first one begun by what is left in the window. What is left of
        the room begins the next one.
        """
        self._hasher.update(room.data.data)
        left = self._cut_off()
        first, stop = room.lead - len(left), room.lead + room.nbytes
        room.buffer[first : room.lead] = left
        last = first + (stop - first) // BLOCK * BLOCK
        self._window, self._filled = self._disk.window(), stop - last
        self._window[: self._filled] = room.buffer[last:stop]
        self._write(room.buffer, slice(first, last), self._next - len(left))
        self._next += room.nbytes

    def _cut_off(self) -> NDArray[np.uint8]:
        """Gives the whole blocks in the window to the disk; a copy of the bytes that fill none. The window is empty."""
        if self._window is None:
            return np.empty(0, np.uint8)
        whole = self._filled // BLOCK * BLOCK
        left = self._window[whole : self._filled].copy()
        self._filled, self._next = whole, self._next - len(left)
        self._flush()
        self._next += len(left)
        return left

    def _flush(self) -> None:
        """Gives what the window holds to the disk. Only full windows come before it, so each begins with a block."""
        if self._window is None:
            return
        window, count = self._window, self._filled
        self._window, self._filled = None, 0
        self._write(window, slice(0, count), self._next - count)

    def _write(self, buffer: NDArray[np.uint8], part: slice, at: int) -> None:
        """Gives a part of a buffer to the disk, for the file from byte `at` on."""
        self._reap()
        self._writing.append(self._disk.write(self._descriptor, buffer, part, at))
        self._unsynced += part.stop - part.start
        if self._unsynced >= _SYNC_BYTES and not is_direct(self._descriptor):
            self._writing.append(self._disk.then(os.fdatasync, self._descriptor))
            self._unsynced = 0

    def _reap(self) -> None:
        """Raises what the finished writes met."""
        for future in [future for future in self._writing if future.done()]:
            self._writing.remove(future)
            future.result()

    def _write_early(self, start: int, data: NDArray[np.uint8]) -> None:
        if is_direct(self._descriptor):
            for future in self._writing:
                future.result()
            go_through_cache(self._descriptor)
        write_all(self._descriptor, data.data, start)
        self._early[start] = len(data)

    def _catch_up(self, count: int) -> None:
        self._flush()
        for at in range(self._next, self._next + count, WINDOW):
            wanted = min(WINDOW, self._next + count - at)
            data = os.pread(self._descriptor, wanted, at)
            if len(data) != wanted:
                raise OSError(f"byte {at + len(data):,} that was written cannot be read back")
            self._hasher.update(memoryview(data))
        self._next += count

    def _finish(self) -> Future[str]:
        """Writes the last bytes, which do not fill a block, through the page cache after everything else."""
        return self._disk.then(self._seal, self._cut_off().tobytes())

    def _seal(self, rest: bytes) -> str:
        for future in self._writing:
            future.result()
        go_through_cache(self._descriptor)
        write_all(self._descriptor, memoryview(rest), self._nbytes - len(rest))
        os.fsync(self._descriptor)
        self.close()
        found = self._hasher.hexdigest()
        self._finished(self._path.name, self._nbytes, found)
        return found
