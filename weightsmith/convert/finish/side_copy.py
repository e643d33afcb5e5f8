"""Copies a file that lies beside the weights: the very file that was planned, and nothing that took its name since."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import new_hasher
from weightsmith.checkpoint.small_file import open_own
from weightsmith.convert.stamps import changed, stamp_of
from weightsmith.errors import MissingInput
from weightsmith.process.durable import new_file

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.convert.stamps import Stamp

_CHUNK = 1 << 20


def copy_side_file(source: Path, path: Path, planned: Stamp, hash_name: str) -> tuple[int, str]:
    """Writes a new file at `path`; (bytes, hash) of what was written. Memory: one chunk.

    Raises CorruptCheckpoint where it is another file than was planned, or was written to; HostileCheckpoint where it
    has become a link that leads out; MissingInput where it cannot be read, and OSError where `path` cannot be written.
    """
    hasher = new_hasher(hash_name)
    with _opened(source) as file, new_file(path) as target:
        if not planned.same_bytes(stamp_of(os.fstat(file.fd))):
            raise changed(source.parent, source.name)
        for start in range(0, file.size, _CHUNK):
            data = file.read(start, min(_CHUNK, file.size - start))
            hasher.update(memoryview(data))
            target.write(data)
        return file.size, hasher.hexdigest()


def _opened(source: Path) -> ByteFile:
    try:
        return open_own(source)
    except MissingInput as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise changed(source.parent, source.name) from error
        raise
