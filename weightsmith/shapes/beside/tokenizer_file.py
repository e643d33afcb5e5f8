"""Reads a `tokenizer.json` in place: the largest token id, and the ids of added tokens.

Parsing the 11 MB of a 150,000-entry vocabulary into Python objects would take longer, and more memory, than all the
rest of infer-config. So the file is mapped and searched. `tokenizers` writes an added token's id and its text next to
each other, and the list of added tokens before the normalizer.
"""

from __future__ import annotations

import json
import mmap
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STRING = rb'"(?:[^"\\]|\\.)*"'
_VOCABULARY = re.compile(rb'"vocab"\s*:\s*\{')
_ENTRY = re.compile(rb"\s*" + _STRING + rb"\s*:\s*([0-9]+)\s*,?")
_ADDED = re.compile(rb'"added_tokens"\s*:\s*\[')
_ADDED_ID = re.compile(rb'"id"\s*:\s*([0-9]+)')
_ADDED_TOKEN = re.compile(_ADDED_ID.pattern + rb'\s*,\s*"content"\s*:\s*(' + _STRING + rb")")


def largest_token_id(path: Path) -> int | None:
    """The largest id in a `tokenizer.json`, None when there is no such file or it holds none."""
    try:
        with _mapped(path) as text:
            ids = [*_vocabulary_ids(text), *(int(found[1]) for found in _added(text, _ADDED_ID))]
    except (OSError, ValueError):
        return None
    return max(ids, default=None)


def added_token_id(path: Path, token: str) -> int | None:
    """The id of an added token in a `tokenizer.json`, None when there is no such file or token."""
    try:
        with _mapped(path) as text:
            entries = [(int(found[1]), found[2]) for found in _added(text, _ADDED_TOKEN)]
        return next((number for number, content in entries if json.loads(content) == token), None)
    except (OSError, ValueError):
        return None


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """The file's bytes without reading them. Raises OSError, and ValueError for an empty file.

    No match may outlive the mapping that it points into.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        yield text


def _vocabulary_ids(text: mmap.mmap) -> Iterator[int]:
    """The ids of the model's own tokens, for a vocabulary that is an object of tokens and ids."""
    start = _VOCABULARY.search(text)
    position = start.end() if start else len(text)
    while entry := _ENTRY.match(text, position):
        yield int(entry[1])
        position = entry.end()


def _added(text: mmap.mmap, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
    """What matches in the list of added tokens."""
    start = _ADDED.search(text)
    if start:
        end = text.find(b'"normalizer"', start.end())
        yield from pattern.finditer(text, start.end(), end if end > 0 else len(text))
