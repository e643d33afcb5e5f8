"""Hashes of a conversion's files: now, or in a thread beside other work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import HASHES, opened_hash
from weightsmith.checkpoint.small_file import open_named
from weightsmith.errors import ConversionRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from weightsmith.checkpoint.place import Place


def check_hash_name(name: str) -> str:
    """The name of a hash. Raises ConversionRefused for one that is not in HASHES."""
    if name not in HASHES:
        raise ConversionRefused("--hash", f"{name!r} is unknown", f"choose from {', '.join(HASHES)}")
    return name


@contextmanager
def digesting(root: Place, files: Sequence[str], name: str) -> Iterator[Future[dict[str, tuple[int, str]]]]:
    """Hashes `files` of `root` in a thread while the block runs. A block that fails stops it.

    name: one of HASHES.

    Gives the future of file -> (bytes, hash).
    """
    stop = Event()

    def hash_all() -> dict[str, tuple[int, str]]:
        return {file: sized_hash(root / file, name, stop) for file in files}

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(hash_all)
        except BaseException:
            stop.set()
            raise


def sized_hash(path: Place, name: str, stop: Event | None = None) -> tuple[int, str]:
    """(bytes, hash) of a file, of one and the same opened file. Raises as `file_hash`."""
    with open_named(path) as file:
        return file.size, opened_hash(file, name, 1, stop)
