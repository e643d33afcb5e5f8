"""Searches the text of a `tokenizer.json`: the largest token id, and the ids of added tokens.

Parsing the 11 MB of a 150,000-entry vocabulary into Python objects would take longer, and more memory, than all the
rest of infer-config. So the text is searched. `tokenizers` writes an added token's id and its text next to
each other, and the list of added tokens before the normalizer.
"""

from __future__ import annotations

import json
import re
from itertools import chain, islice
from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import LARGEST_TOKENIZER, is_there, read_small
from weightsmith.errors import WeightsmithError
from weightsmith.shapes.beside.json_files import side_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint import Problem
    from weightsmith.checkpoint.place import Place

TOKENIZER = "tokenizer.json"
# The largest published vocabularies have 0.9 million tokens.
_MOST_IDS = 4_000_000
_MOST_DIGITS = 18

_STRING = rb'"(?:[^"\\]|\\.)*"'
_VOCABULARY = re.compile(rb'"vocab"\s*:\s*\{')
_ENTRY = re.compile(rb"\s*" + _STRING + rb"\s*:\s*([0-9]+)\s*,?")
_ADDED = re.compile(rb'"added_tokens"\s*:\s*\[')
_ADDED_ID = re.compile(rb'"id"\s*:\s*([0-9]+)')
_ADDED_TOKEN = re.compile(_ADDED_ID.pattern + rb'\s*,\s*"content"\s*:\s*(' + _STRING + rb")")


def read_tokenizer(path: Place) -> tuple[bytes, tuple[Problem, ...]]:
    """(the bytes of a `tokenizer.json`, why it could not be read). Both are empty where there is no such file."""
    if not is_there(path):
        return b"", ()
    try:
        return read_small(path, LARGEST_TOKENIZER), ()
    except WeightsmithError as error:
        return b"", (side_file(path, error),)


def largest_token_id(text: bytes) -> int | None:
    """The largest id in a `tokenizer.json`, None when it holds none, or more than any vocabulary has."""
    found = chain(_vocabulary_ids(text), (match[1] for match in _added(text, _ADDED_ID)))
    digits = list(islice(found, _MOST_IDS))
    if len(digits) == _MOST_IDS:
        return None
    return max(map(int, filter(_is_id, digits)), default=None)


def added_token_id(text: bytes, token: str) -> int | None:
    """The id of an added token in a `tokenizer.json`, None when there is no such token."""
    for found in islice(_added(text, _ADDED_TOKEN), _MOST_IDS):
        if _is_id(found[1]) and _content(found[2]) == token:
            return int(found[1])
    return None


def _is_id(digits: bytes) -> bool:
    """Whether a number can be a token's: none has more digits than the largest vocabulary needs."""
    return len(digits) <= _MOST_DIGITS


def _content(string: bytes) -> str | None:
    """The text of a JSON string; None where it is none, such as one with a raw newline in it."""
    try:
        text: str = json.loads(string)
    except ValueError:
        return None
    return text


def _vocabulary_ids(text: bytes) -> Iterator[bytes]:
    """The ids of the model's own tokens, for a vocabulary that is an object of tokens and ids."""
    start = _VOCABULARY.search(text)
    entries = _ENTRY.scanner(text, start.end() if start else len(text))  # type: ignore[attr-defined]
    while entry := entries.match():
        yield entry[1]


def _added(text: bytes, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
    """What matches in the list of added tokens."""
    start = _ADDED.search(text)
    if start:
        end = text.find(b'"normalizer"', start.end())
        yield from pattern.finditer(text, start.end(), end if end > 0 else len(text))
