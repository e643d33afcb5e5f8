"""Hashes of files, by reading them once: now, or beside other work; threads within a file where the hash allows it."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Protocol

from weightsmith.errors import ConversionRefused, MissingInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

HASHES = ("blake3", "sha256")

# Large enough that BLAKE3 can split it among threads, small enough to stay in the outer cache.
_CHUNK = 8 << 20


class Hasher(Protocol):
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


def check_name(name: str) -> None:
    """Raises ConversionRefused for a hash that is not in HASHES."""
    if name not in HASHES:
        raise ConversionRefused("--hash", f"{name!r} is unknown", f"choose from {', '.join(HASHES)}")


@contextmanager
def digesting(root: Path, files: Sequence[str], name: str) -> Iterator[Future[dict[str, tuple[int, str]]]]:
    """Hashes `files` of `root` beside the block: file -> (bytes, hash). A block that fails stops it."""
    stop = Event()

    def hash_all() -> dict[str, tuple[int, str]]:
        return {file: ((root / file).stat().st_size, digest(root / file, name, 1, stop)) for file in files}

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(hash_all)
        except BaseException:
            stop.set()
            raise


def digest(path: Path, name: str, threads: int = 1, stop: Event | None = None) -> str:
    """The hexadecimal hash of a file's bytes. Memory: one chunk. stop: set it to end early, with no use for the result.

    Reads instead of mapping: a mapped file that somebody truncates kills the process.
    """
    hasher = new_hasher(name, threads)
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                if stop is not None and stop.is_set():
                    break
                hasher.update(view[:count])
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise MissingInput(path, f"cannot be read ({reason})", "check the disk") from error
    return hasher.hexdigest()


def new_hasher(name: str, threads: int = 1) -> Hasher:
    if name == "sha256":
        return hashlib.sha256()
    import blake3

    hasher: Hasher = blake3.blake3(max_threads=threads)
    return hasher
