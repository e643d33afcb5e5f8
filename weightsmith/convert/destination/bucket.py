"""What a bucket is asked for while it is written to. Each kind of store has a file beside this one."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import md5
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from weightsmith.convert.destination.destination import FileState


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a store answers to bytes that it took.

    tag: without quotes. nbytes: of them. checksum: CRC-64 of them, as the store has it; None where it said none.
    """

    tag: str
    nbytes: int
    checksum: int | None = None

    @property
    def proven(self) -> bool:
        """The store's library has compared a checksum of what is there with one of what was sent."""
        return self.checksum is not None


class Bucket(Protocol):
    """A bucket. Every method raises what the store's library raises: errors of the system, by their meaning."""

    @property
    def name(self) -> str: ...

    def put(self, key: str, data: bytes, *, only_new: bool = False) -> Receipt:
        """Puts an object there. only_new: raises FileExistsError where something has this key."""
        ...

    def begin(self, key: str) -> str:
        """Begins an object that is sent in parts; the number of the upload."""
        ...

    def put_part(self, key: str, upload: str, number: int, data: bytes) -> Receipt:
        """A part. number: from 1 on."""
        ...

    def complete(self, key: str, upload: str, parts: Sequence[Receipt]) -> Receipt:
        """From now on the object is there. Raises FileNotFoundError where there is no such upload any more."""
        ...

    def abort(self, key: str, upload: str) -> None:
        """The upload and its parts are gone."""
        ...

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """(key, upload) of some that nobody completed; none where there are none."""
        ...

    def listed(self, prefix: str) -> Iterator[tuple[str, FileState]]:
        """Every object whose key begins so."""
        ...

    def read(self, key: str, start: int, stop: int) -> bytes:
        """These bytes of an object, as many as it has of them."""
        ...

    def delete(self, keys: Collection[str]) -> None:
        """Removes those that are there."""
        ...


def content_md5(data: bytes) -> str:
    """As a header has it: the server refuses other bytes than were sent."""
    return b64encode(md5(data, usedforsecurity=False).digest()).decode()
