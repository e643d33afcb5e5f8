"""The bytes of one remote file, by range requests: what was read of it is kept, and must stay the same file."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from weightsmith.checkpoint.remote.transport import Ask, Passing
from weightsmith.errors import CorruptCheckpoint, MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from weightsmith.checkpoint.remote.transport import Reply, Transport

# What one small read brings along, at the beginning and further behind. huggingface_hub (hf_api.py,
# `parse_safetensors_file_metadata`) reads 100,000 bytes first, which hold 97 % of all safetensors headers; a shard of
# DeepSeek-V3 has one of 80 kB. The directory of a torch zip with 255 tensors has 23 kB, and its pickle, which is the
# first entry, 40 kB.
AHEAD, BEHIND = 1 << 17, 1 << 16
# Windows of one file that are kept: its head, its tail, and where reading went on.
_MOST_WINDOWS = 4
# Of one request: when it breaks, its own tries go on where it broke.
_LARGEST_PART = 64 << 20
_LONGEST_REFUSAL = 1 << 16
_NOT_THERE = frozenset({403, 404, 410})  # 403: an object store says so where it must not list
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")
_AGAIN = "let the upload finish, then try again"


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask a server for. subject: the file's address, for errors. secret: headers for this server alone."""

    url: str
    subject: str
    secret: Mapping[str, str] = field(default_factory=dict)


class HttpRefusedError(Exception):
    """A server's final answer that is none: its status, its headers, and how its text begins."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.status, self.headers = reply.status, reply.headers
        self.text = reply.data(_LONGEST_REFUSAL) or b""


class Reach:
    """Whether a folder's server can be reached. fault: why not, as the first read found that failed for good.

    Many a room does without a file beside the weights that it cannot read. What could not be asked for is not absent:
    later reads fail at once, and `place.need_reached` says so in the end.
    """

    def __init__(self) -> None:
        self.fault: WeightsmithError | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Around a request: raises the fault that is known, or keeps the one that comes."""
        if self.fault is not None:
            raise self.fault
        try:
            yield
        except WeightsmithError as error:
            if not is_absence(error):
                self.fault = self.fault or error
            raise


def is_absence(error: WeightsmithError) -> bool:
    """Whether a server's answer is that it has no such file."""
    refused = error.__cause__
    return isinstance(refused, HttpRefusedError) and refused.status in _NOT_THERE


class Content:
    """One remote file, shared by everybody who reads it; safe for several threads."""

    def __init__(
        self,
        transport: Transport,
        target: Target,
        size: int | None,
        explain: Callable[[HttpRefusedError, str], WeightsmithError],
        reach: Reach,
    ) -> None:
        """size: as a listing has it; None where only the server can say.

        explain: makes an error of a server's refusal, for a subject. reach: shared by the files of a folder.
        """
        self.target, self._transport, self._size, self._explain = target, transport, size, explain
        self._reach = reach
        self._windows: list[tuple[int, bytes]] = []
        self._tags: dict[str, str] = {}
        self._moved: Ask | None = None  # where the hub's redirects led, without the token
        self._reading, self._keeping = Lock(), Lock()

    @property
    def size(self) -> int:
        """Its bytes. Asks, where nothing did yet, with the beginning of the file. Raises as `read_into`."""
        if self._size is None:
            with self._reading:
                if self._size is None:
                    self._fetch_window(0, AHEAD)
        return self._size or 0

    @property
    def tag(self) -> str:
        """What its server calls the state of it; empty where it does not say, or was not asked."""
        return next(iter(self._tags.values()), "")

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
        with self._keeping:
            if len(self._windows) == _MOST_WINDOWS:
                del self._windows[-1]  # the head and the tail, which come first, stay
            self._windows.append((start, bytes(memoryview(buffer)[:got])))

    def _fetch(self, start: int, view: memoryview) -> int:
        """Fills `view` by one request, and by others where that one breaks; how many bytes the file has for it."""
        done = 0

        def ask() -> Ask:
            moved = self._moved
            base = moved or Ask(self.target.url, self.target.subject, self.target.secret)
            # The whole of a file needs no range, and some servers send small files in no other way.
            whole = not done and not start and self._size == len(view)
            left = len(view) - done
            return replace(base, expected=left, span=None if whole else (start + done, left))

        def take(reply: Reply) -> int:
            nonlocal done
            if reply.status >= 400 and reply.status != 416 and self._moved is not None:
                self._moved = None  # a signed link that is over: the hub gives another
                raise Passing(f"the server refused it (HTTP {reply.status})")
            end = self._checked(reply, start + done, len(view) - done) - start
            for got in reply.read_into(view[done:end]):
                done += got
            if reply.url != self.target.url:
                self._moved = Ask(reply.url, self.target.subject, public=reply.public)
            return end

        with self._reach.noted():
            try:
                return self._transport.exchange(ask, take)
            except HttpRefusedError as refused:
                raise self._explain(refused, self.target.subject) from refused

    def _checked(self, reply: Reply, start: int, count: int) -> int:
        """The byte of the file where the answer ends. Raises where it is none to what was asked."""
        if reply.status in (200, 206):
            self._need_same(reply)
        length = reply.headers.get("Content-Length") or str(self._size)
        if reply.status == 200 and not start and length.isdigit() and int(length) <= count:
            return self._need_size(int(length))  # all of it, which was asked for
        if reply.status == 200:
            fact = "its server sends the whole file where a part was asked for (it ignores Range)"
            raise MissingInput(self.target.subject, fact, "download it and name the local copy")
        found = _RANGE.fullmatch(reply.headers.get("Content-Range", ""))
        if reply.status == 416 and found and not start and int(found[3]) == 0:
            return self._need_size(0)
        if reply.status >= 400 and reply.status != 416:
            raise HttpRefusedError(reply)
        if reply.status != 206 or not found or found[1] is None:
            self._other(f"answers HTTP {reply.status} where a part was asked for")
        first, last, size = (int(number) for number in found.groups())
        if first != start or last != min(start + count, size) - 1:
            self._other(
                f"sends bytes {first:,} to {last:,} where {start:,} to {start + count - 1:,} were asked for"
            )
        self._need_size(size)
        return last + 1

    def _need_size(self, size: int) -> int:
        if self._size is not None and self._size != size:
            self._changed(f"it has {size:,} bytes, not {self._size:,}")
        self._size = size
        return size

    def _need_same(self, reply: Reply) -> None:
        """What a server calls the state of a file now is what it called it before. A hub has its own name for what it
        sends us to (X-Linked-Etag)."""
        etag, server = reply.headers.get("ETag"), urlsplit(reply.url).netloc
        tags = {
            "linked": reply.first.get("X-Linked-Etag"),
            f"etag {server}": etag and etag.removeprefix("W/"),
            f"modified {server}": None if etag else reply.headers.get("Last-Modified"),
        }
        for key, tag in tags.items():
            if tag and self._tags.setdefault(key, tag) != tag:
                self._changed("its tag is another one")

    def _changed(self, how: str) -> NoReturn:
        raise CorruptCheckpoint(self.target.subject, f"changed while it was read: {how}", _AGAIN)

    def _other(self, fact: str) -> NoReturn:
        way_out = "download it and name the local copy"
        raise CorruptCheckpoint(self.target.subject, f"its server {fact}", way_out)
