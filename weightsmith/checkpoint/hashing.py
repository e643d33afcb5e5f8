"""What a file is, whatever its name says: hashes of whole files, by reading them once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from weightsmith.checkpoint.small_file import open_named

if TYPE_CHECKING:
    from threading import Event

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.checkpoint.place import Place

HASHES = ("blake3", "sha256")

# Large enough that BLAKE3 can split it among threads, small enough to stay in the outer cache.
_CHUNK = 8 << 20

# Weights differ in nearly every byte; what two trainings leave alike are headers and tables.
_SAMPLES, _SAMPLE = 5, 4 << 10


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


def file_hash(
    path: Place, name: str = "blake3", threads: int | None = None, stop: Event | None = None
) -> str:
    """The hexadecimal hash of a file's bytes. Memory: one chunk. stop: set it to end early, with no use for the result.

    Raises MissingInput where it is no readable regular file, and what `opened_hash` raises.
    """
    with open_named(path) as file:
        return opened_hash(file, name, threads, stop)


def sample_hash(path: Place) -> str:
    """A hash of the size and of some bytes here and there: quick, and another one for other weights of the same shapes.

    Raises MissingInput where it is no readable regular file, or the disk fails.
    """
    hasher = new_hasher("sha256")
    with open_named(path) as file:
        hasher.update(memoryview(str(file.size).encode()))
        for place in range(_SAMPLES):
            start = max(0, file.size - _SAMPLE) * place // (_SAMPLES - 1)
            hasher.update(memoryview(file.read(start, min(_SAMPLE, file.size))))
    return hasher.hexdigest()


def opened_hash(
    file: ByteFile, name: str = "blake3", threads: int | None = None, stop: Event | None = None
) -> str:
    """The same of an opened file, of as many bytes as it had then.

    Reads instead of mapping: a mapped file that somebody truncates kills the process. Raises CorruptCheckpoint where
    it ends before, or is hardly there: terabytes of holes take hours and say nothing. MissingInput when the disk fails.
    """
    file.need_data()
    hasher = new_hasher(name, threads)
    view = memoryview(bytearray(min(_CHUNK, file.size)))
    for start in range(0, file.size, _CHUNK):
        if stop is not None and stop.is_set():
            break
        part = view[: min(_CHUNK, file.size - start)]
        file.read_into(start, part)
        hasher.update(part)
    return hasher.hexdigest()


def bytes_hash(data: bytes, name: str = "blake3") -> str:
    """The hexadecimal hash of bytes in memory."""
    hasher = new_hasher(name)
    hasher.update(memoryview(data))
    return hasher.hexdigest()


def text_hash(text: str) -> str:
    """Hexadecimal BLAKE3 of a text's UTF-8."""
    return bytes_hash(text.encode())
