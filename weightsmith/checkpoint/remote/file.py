"""A remote file behind the door of all readers: `ByteFile`, by range requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.file_bytes import ByteFile

if TYPE_CHECKING:
    from weightsmith.checkpoint.remote.content import Content


class RemoteFile(ByteFile):
    """Nothing is open: closing it changes nothing, and what was read of it stays with its folder."""

    __slots__ = ("_ahead", "_content", "_digest")

    costly = True

    def __init__(self, content: Content, name: str, subject: str, digest: str) -> None:
        """Raises as `Content.size`."""
        self.fd, self.origin = -1, 0
        self.name, self.subject = name, subject
        self._content, self._digest, self._ahead = content, digest, True
        self.size = content.size

    def alone(self) -> ByteFile:
        same = self.section(0, self.size)
        same._ahead = False
        return same

    def section(self, start: int, size: int) -> RemoteFile:
        if start < 0 or size < 0 or start + size > self.size:
            self._ends_before(start, size)
        part = RemoteFile(self._content, self.name, self.subject, self._digest)
        part.origin, part.size = self.origin + start, size
        return part

    def read_into(self, start: int, view: memoryview) -> None:
        if start + len(view) > self.size:
            self._ends_before(start, len(view))
        self._content.read_into(self.origin + start, view, ahead=self._ahead)

    def holds(self, start: int, count: int) -> bool:
        return self._content.holds(self.origin + start, count)

    def written(self, enough: int) -> int:
        """A server has no holes: what it lacks it does not send."""
        return self.size

    def identity(self) -> object:
        return self._digest or self.subject
