"""The files that a weightsmith.json records, as anybody reads them who must not trust it."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from weightsmith.checkpoint.json_file import JsonLimits
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.sub_folders import is_sub_file

# Written by `weightsmith convert`: names, sizes and hashes of what it read and wrote, and no paths.
MANIFEST = "weightsmith.json"
# Four values for each file, of at most 4,000 shards and what lies beside them.
MANIFEST_LIMITS = JsonLimits(64 << 20, 1_000_000)
# In bytes, in any file system.
_LONGEST_NAME = 255
# Python has a byte that is no UTF-8 as half a surrogate pair, which no JSON text can hold.
_NOT_IN_JSON = re.compile(r"[\\\udc80-\udcff]")
_ESCAPED = re.compile(r"\\(\\|x[89a-f][0-9a-f])")
# Of a file now: the bytes that were written; as many bytes, which were not hashed; other bytes in the same number;
# another number; gone; never written by us.
HashVerdict = Literal["same", "same size", "changed", "other size", "missing", "not listed"]


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


def name_to_record(name: str) -> str:
    r"""A file's name as JSON can hold it: a byte that is no UTF-8 becomes `\xd5`, a backslash becomes two."""
    return _NOT_IN_JSON.sub(_escaped, name)


def _escaped(found: re.Match[str]) -> str:
    return "\\\\" if found[0] == "\\" else f"\\x{ord(found[0]) & 0xFF:02x}"


def _recorded_name(text: str) -> str | None:
    """The name that was so recorded; None where no file of a folder can have it."""
    name = _ESCAPED.sub(lambda found: "\\" if found[1] == "\\" else chr(0xDC00 + int(found[1][1:], 16)), text)
    if name in ("", ".", "..") or "\0" in name or ("/" in name and not is_sub_file(name)):
        return None
    try:
        return name if name_to_record(name) == text and len(os.fsencode(name)) <= _LONGEST_NAME else None
    except UnicodeEncodeError:
        return None


def _recorded(row: object) -> RecordedFile:
    fields = row if isinstance(row, dict) else {}
    text, nbytes, digest = fields.get("file"), fields.get("bytes"), fields.get("hash")
    if not (isinstance(text, str) and type(nbytes) is int and isinstance(digest, str)):
        raise ValueError(f"has an entry that is no file: {quoted(row)}")
    name = _recorded_name(text)
    if name is None:
        raise ValueError(f"lists {quoted(text)}, which is no file of this folder")
    return RecordedFile(name, nbytes, digest)
