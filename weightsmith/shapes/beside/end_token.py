"""Where an answer ends: the tokenizer's own end token against the ids that the configs give."""

from __future__ import annotations

import json
import mmap
import re
from typing import TYPE_CHECKING, Any

from weightsmith.checkpoint import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# `tokenizers` writes the id of an added token and its text next to each other. The file is searched in place:
# a vocabulary of 150,000 entries takes longer to parse than all the rest of infer-config.
_ADDED = re.compile(rb'"added_tokens"\s*:\s*\[')
_ENTRY = re.compile(rb'"id"\s*:\s*(\d+)\s*,\s*"content"\s*:\s*("(?:[^"\\]|\\.)*")')


def end_token(config: Mapping[str, Any], generation: Mapping[str, Any], root: Path) -> Iterator[Problem]:
    """An answer that the tokenizer's end token does not end runs on, or another token cuts it short.

    Silent where either side says nothing: several ids may end an answer, and not every tokenizer names one.
    """
    text = config.get("text_config")
    owners = (config, text if isinstance(text, dict) else {}, generation)
    ends = {number for owner in owners for number in _ids(owner.get("eos_token_id"))}
    token = _named(root / "tokenizer_config.json")
    own = None if token is None or not ends else added_token_id(root / "tokenizer.json", token)
    if own is not None and own not in ends:
        stated = ", ".join(map(str, sorted(ends)))
        yield Problem(
            "end-token",
            f"the tokenizer ends a text with {token} ({own}), the configs with eos_token_id {stated}",
        )


def added_token_id(path: Path, token: str) -> int | None:
    """The id of an added token in a `tokenizer.json`, None when there is no such file or token."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            entries = _entries(mapped)
        return next((int(number) for number, content in entries if json.loads(content) == token), None)
    except (OSError, ValueError):
        return None


def _entries(text: mmap.mmap) -> list[tuple[bytes, bytes]]:
    """Id and quoted text of every added token. A list: no match may outlive the mapping that it points into."""
    start = _ADDED.search(text)
    if start is None:
        return []
    end = text.find(b'"normalizer"', start.end())
    found = _ENTRY.finditer(text, start.end(), end if end > 0 else len(text))
    return [(entry[1], entry[2]) for entry in found]


def _named(path: Path) -> str | None:
    """The end token of a tokenizer_config.json: a string, or an object with its content."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    token = data.get("eos_token") if isinstance(data, dict) else None
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _ids(stated: Any) -> set[int]:
    return {n for n in (stated if isinstance(stated, list) else [stated]) if type(n) is int}
