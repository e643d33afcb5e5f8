"""A file of a web server, by range requests: what comes must be what was asked for, of the same state of the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn, TypeAlias
from urllib.parse import urlsplit

from weightsmith.checkpoint.remote.content import Content, HttpRefusedError, Reach
from weightsmith.checkpoint.remote.transport import Ask, Passing
from weightsmith.errors import CorruptCheckpoint, MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint.remote.transport import Reply, Transport

_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")
_AGAIN = "let the upload finish, then try again"


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask a server for. subject: the file's address, for errors. secret: headers for this server alone."""

    url: str
    subject: str
    secret: Mapping[str, str] = field(default_factory=dict)


Explain: TypeAlias = "Callable[[HttpRefusedError, str], WeightsmithError]"


class HttpContent(Content):
    """Such a file. A hub's redirect is followed once: later requests go where it led."""

    def __init__(
        self,
        transport: Transport,
        target: Target,
        size: int | None,
        explain: Explain,
        reach: Reach,
    ) -> None:
        """explain: makes an error of a server's refusal, for a subject. The others are as `Content` has them."""
        super().__init__(size, reach)
        self.target, self._transport, self._explain = target, transport, explain
        self._tags: dict[str, str] = {}
        self._moved: Ask | None = None  # where the hub's redirects led, without the token

    @property
    def tag(self) -> str:
        """What its server calls the state of it; empty where it does not say, or was not asked."""
        return next(iter(self._tags.values()), "")

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
