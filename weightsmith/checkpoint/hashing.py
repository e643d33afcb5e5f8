"""What a file is, whatever its name says: hashes of whole files, by reading them once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

HASHES = ("blake3", "sha256")

# Large enough that BLAKE3 can split it among threads, small enough to stay in the outer cache.
_CHUNK = 8 << 20


class Hasher(Protocol):
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


def new_hasher(name: str, threads: int | None = 1) -> Hasher:
    """threads: within one update, which BLAKE3 alone can use; None for as many as there are."""
    if name == "sha256":
        return hashlib.sha256()
    from blake3 import blake3

    hasher: Hasher = blake3(max_threads=blake3.AUTO if threads is None else threads)
    return hasher


def file_hash(path: Path, name: str = "blake3", threads: int | None = None, stop: Event | None = None) -> str:
    """The hexadecimal hash of a file's bytes. Memory: one chunk. stop: set it to end early, with no use for the result.

    Reads instead of mapping: a mapped file that somebody truncates kills the process. Raises OSError.
    """
    hasher = new_hasher(name, threads)
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            if stop is not None and stop.is_set():
                break
            hasher.update(view[:count])
    return hasher.hexdigest()


def text_hash(text: str) -> str:
    """Hexadecimal BLAKE3 of a text's UTF-8."""
    hasher = new_hasher("blake3")
    hasher.update(memoryview(text.encode()))
    return hasher.hexdigest()
