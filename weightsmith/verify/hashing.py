"""What a file is, whatever its name says: hashes of whole files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Large enough that BLAKE3 can split it among threads.
_CHUNK = 8 << 20


def file_hash(path: Path, name: str = "blake3") -> str:
    """Hexadecimal BLAKE3 or SHA-256 of a file's bytes. Raises OSError.

    Reads instead of mapping: a mapped file that somebody truncates kills the process.
    """
    from blake3 import blake3

    hasher = blake3(max_threads=blake3.AUTO) if name == "blake3" else hashlib.new(name)
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(view[:count])
    return hasher.hexdigest()


def text_hash(text: str) -> str:
    """Hexadecimal BLAKE3 of a text's UTF-8."""
    from blake3 import blake3

    return blake3(text.encode()).hexdigest()
