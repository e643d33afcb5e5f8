"""Hashes of a conversion's files: now, or in a thread beside other work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import HASHES, file_hash
from weightsmith.errors import ConversionRefused, MissingInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path


def check_hash_name(name: str) -> str:
    """The name of a hash. Raises ConversionRefused for one that is not in HASHES."""
    if name not in HASHES:
        raise ConversionRefused("--hash", f"{name!r} is unknown", f"choose from {', '.join(HASHES)}")
    return name


@contextmanager
def digesting(root: Path, files: Sequence[str], name: str) -> Iterator[Future[dict[str, tuple[int, str]]]]:
    """Hashes `files` of `root` in a thread while the block runs. A block that fails stops it.

    name: one of HASHES.

    Gives the future of file -> (bytes, hash).
    """
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
    """As `file_hash`. Raises MissingInput where the file cannot be read."""
    try:
        return file_hash(path, name, threads, stop)
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise MissingInput(path, f"cannot be read ({reason})", "check the disk") from error
