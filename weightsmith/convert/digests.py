"""Hashes of files, by reading them once; several threads within a file where the hash allows it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from weightsmith.errors import ConversionRefused, MissingInput

if TYPE_CHECKING:
    from pathlib import Path

HASHES = ("blake3", "sha256")

# Large enough that BLAKE3 can split it among threads, small enough to stay in the outer cache.
_CHUNK = 8 << 20


class _Hasher(Protocol):
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


def check_name(name: str) -> None:
    """Raises ConversionRefused for a hash that is not in HASHES."""
    if name not in HASHES:
        raise ConversionRefused("--hash", f"{name!r} is unknown", f"choose from {', '.join(HASHES)}")


def digest(path: Path, name: str, threads: int = 1) -> str:
    """The hexadecimal hash of a file's bytes. Memory: one chunk.

    Reads instead of mapping: a mapped file that somebody truncates kills the process.
    """
    hasher = _new(name, threads)
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                hasher.update(view[:count])
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise MissingInput(path, f"cannot be read ({reason})", "check the disk") from error
    return hasher.hexdigest()


def _new(name: str, threads: int) -> _Hasher:
    if name == "sha256":
        return hashlib.sha256()
    import blake3

    hasher: _Hasher = blake3.blake3(max_threads=threads)
    return hasher
