"""The bytes of one remote file: a small read brings what lies around it along, and is not asked for again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.remote.transport import Reply

# What one small read brings along, at the beginning and further behind. huggingface_hub (hf_api.py,
# `parse_safetensors_file_metadata`) reads 100,000 bytes first, which hold 97 % of all safetensors headers; a shard of
# DeepSeek-V3 has one of 80 kB. The directory of a torch zip with 255 tensors has 23 kB, and its pickle, which is the
# first entry, 40 kB.
AHEAD, BEHIND = 1 << 17, 1 << 16
# Windows of one file that are kept: its head, its tail, and where reading went on.
_MOST_WINDOWS = 4
# Of one request: when it breaks, its own tries go on where it broke.
_LARGEST_PART = 64 << 20
# A file of so many bytes that is read whole is kept: several rooms look at a tokenizer or an index.
_LARGEST_KEPT = 32 << 20
_LONGEST_REFUSAL = 1 << 16
_NOT_THERE = frozenset({403, 404, 410})  # 403: an object store says so where it must not list


class HttpRefusedError(Exception):
    """A server's final answer that is none: its status, its headers, and how its text begins."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.status, self.headers = reply.status, reply.headers
        self.text = reply.data(_LONGEST_REFUSAL) or b""


class Reach:
    """Whether a folder's server can be reached. fault: why not, as the first read found that failed for good.
    listed: there is a list of its files, so that one which is refused is not absent.

    Many a room does without a file beside the weights that it cannot read. What could not be asked for is not absent:
    later reads fail at once, and `place.need_reached` says so in the end.
    """

    def __init__(self) -> None:
        self.fault: WeightsmithError | None = None
        self.listed = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Around a request: raises the fault that is known, or keeps the one that comes."""
        if self.fault is not None:
            raise self.fault
        try:
            yield
        except WeightsmithError as error:
            if self.listed or not is_absence(error):
                self.fault = self.fault or error
            raise


def is_absence(error: WeightsmithError) -> bool:
    """Whether a server's answer is that it has no such file."""
    refused = error.__cause__
    return isinstance(refused, HttpRefusedError) and refused.status in _NOT_THERE


class Content(ABC):
    """One remote file, shared by everybody who reads it; safe for several threads."""

    def __init__(self, size: int | None, reach: Reach) -> None:
        """size: as a listing has it; None where only the server can say. reach: shared by the files of a folder."""
        self._size, self._reach = size, reach
        self._windows: list[tuple[int, bytes]] = []
        self._reading, self._keeping = Lock(), Lock()

    @property
    @abstractmethod
    def tag(self) -> str:
        """What its server calls the state of it; empty where it does not say, or was not asked."""

    @abstractmethod
    def _fetch(self, start: int, view: memoryview) -> int:
        """Fills `view` from byte `start` on; how many bytes the file has for it."""

    @property
    def size(self) -> int:
        """Its bytes. Asks, where nothing did yet, with the beginning of the file. Raises as `read_into`."""
        if self._size is None:
            with self._reading:
                if self._size is None:
                    self._fetch_window(0, AHEAD)
        return self._size or 0

    def need_head(self) -> None:
        """Reads the beginning, unless it is here. Raises as `read_into`."""
        if self.size:
            self.read_into(0, memoryview(bytearray(1)))

    def holds(self, start: int, count: int) -> bool:
        """Whether a read of these bytes asks nobody."""
        return self._kept(start, count) is not None

    def read_into(self, start: int, view: memoryview, *, ahead: bool = True) -> None:
        """Fills `view` from byte `start`; the bytes lie within `size`. ahead: bring and keep what lies around them.

        Raises MissingInput (no answer, no access), CorruptCheckpoint (the file changed, the server sends other bytes
        than were asked for), HostileCheckpoint (a redirect that leads astray).
        """
        done = self._from_windows(start, view)
        left = len(view) - done
        if left and ahead and left < AHEAD:
            with self._reading:  # who asks for the same window meanwhile finds it
                if self._kept(start + done, left) is None:
                    self._fetch_window(start + done, left)
            found = self._kept(start + done, left)
            if found is not None:
                view[done:] = found
                return
        while done < len(view):
            part = view[done : done + _LARGEST_PART]
            self._fetch(start + done, part)
            done += len(part)
        if len(view) == self._size and len(view) <= _LARGEST_KEPT:
            self._keep(0, bytes(view))

    def _from_windows(self, start: int, view: memoryview) -> int:
        """Copies what a window has of the beginning; how many bytes these are."""
        with self._keeping:
            for begin, data in self._windows:
                if begin <= start < begin + len(data):
                    part = memoryview(data)[start - begin : start - begin + len(view)]
                    view[: len(part)] = part
                    return len(part)
        return 0

    def _kept(self, start: int, count: int) -> memoryview | None:
        with self._keeping:
            for begin, data in self._windows:
                if begin <= start and start + count <= begin + len(data):
                    return memoryview(data)[start - begin : start - begin + count]
        return None

    def _fetch_window(self, start: int, count: int) -> None:
        """A window that holds these bytes. At the end of the file it is the last one, and reaches as far back."""
        most = max(count, BEHIND if start else AHEAD)
        if self._size is not None:
            start = max(0, min(start, self._size - most))
        count = most if self._size is None else min(most, self._size - start)
        buffer = bytearray(count)
        got = self._fetch(start, memoryview(buffer))
        self._keep(start, bytes(memoryview(buffer)[:got]))

    def _keep(self, start: int, data: bytes) -> None:
        with self._keeping:
            if len(self._windows) == _MOST_WINDOWS:
                del self._windows[-1]  # the head and the tail, which come first, stay
            self._windows.append((start, data))
