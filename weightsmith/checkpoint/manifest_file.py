"""The files that a weightsmith.json records, as anybody reads them who must not trust it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from weightsmith.checkpoint.names import quoted

# Written by `weightsmith convert`: names, sizes and hashes of what it read and wrote, and no paths.
MANIFEST = "weightsmith.json"
# In bytes, in any file system.
_LONGEST_NAME = 255
# Of a file now: the bytes that were written; other bytes in the same number; another number; gone; never written by us.
HashVerdict = Literal["same", "changed", "other size", "missing", "not listed"]


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """name: in the manifest's folder, or in the source's. digest: hexadecimal, by the hash that the manifest names."""

    name: str
    nbytes: int
    digest: str


def recorded_files(rows: object) -> tuple[RecordedFile, ...]:
    """The entries of `source` or `output`. Raises ValueError, in words, where one is no file or leads elsewhere."""
    if not isinstance(rows, list):
        raise ValueError("does not list its files")
    files = tuple(map(_recorded, rows))
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"lists {quoted(twice)} more than once")
    return files


def _recorded(row: object) -> RecordedFile:
    fields = row if isinstance(row, dict) else {}
    name, nbytes, digest = fields.get("file"), fields.get("bytes"), fields.get("hash")
    if not (isinstance(name, str) and type(nbytes) is int and isinstance(digest, str)):
        raise ValueError(f"has an entry that is no file: {quoted(str(row)[:80])}")
    if name in ("", ".", "..") or set(name) & set("/\\\0") or not 0 < _encoded_length(name) <= _LONGEST_NAME:
        raise ValueError(f"lists {quoted(name)}, which is no file of this folder")
    return RecordedFile(name, nbytes, digest)


def _encoded_length(name: str) -> int:
    """Bytes of a file's name; 0 where no file can have it. A byte that is no UTF-8 stands in it as half a surrogate."""
    try:
        return len(os.fsencode(name))
    except UnicodeEncodeError:
        return 0
