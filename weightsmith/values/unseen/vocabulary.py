"""Reads a tokenizer.json for what embeddings are asked about: tokens that mean nearly the same, and special ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import LARGEST_TOKENIZER, is_there, read_small
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint.place import Place

# The marks of a leading space: of byte-level BPE, and of SentencePiece.
_SPACES = ("Ġ", "▁")
# Shorter words are syllables, which mean something else in front of every other.
_SHORTEST = 4


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """ids: of every token, added ones included. special: the added ones alone."""

    ids: Mapping[str, int]
    special: Mapping[str, int]

    @property
    def rows(self) -> int:
        """How many rows of an embedding the ids need."""
        return max(self.ids.values(), default=-1) + 1


def read_vocabulary(place: Place) -> Vocabulary | None:
    """The vocabulary of a `tokenizer.json`; None where there is none, or it cannot be read or has another form."""
    try:
        if not is_there(place):
            return None
        whole = json.loads(read_small(place, LARGEST_TOKENIZER))
    except (WeightsmithError, ValueError, RecursionError):
        return None
    model = whole.get("model") if isinstance(whole, dict) else None
    ids = dict(_entries(model.get("vocab"))) if isinstance(model, dict) else {}
    if not ids:
        return None
    added = whole.get("added_tokens")
    entries = [one for one in added if isinstance(one, dict)] if isinstance(added, list) else []
    special = {
        str(one["content"]): one["id"] for one in entries if _is_id(one.get("id")) and "content" in one
    }
    return Vocabulary({**ids, **special}, special)


def _entries(vocabulary: object) -> Iterator[tuple[str, int]]:
    """Token and id, of an object, or of a list of tokens with their scores."""
    if isinstance(vocabulary, dict):
        yield from ((token, number) for token, number in vocabulary.items() if _is_id(number))
    elif isinstance(vocabulary, list):
        for number, entry in enumerate(vocabulary):
            if isinstance(entry, list) and entry and isinstance(entry[0], str):
                yield entry[0], number


def _is_id(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 31


def near_pairs(vocabulary: Vocabulary, most: int) -> list[tuple[int, int]]:
    """Ids of tokens that mean nearly the same: a word with and without a leading space, in the plural, with a capital.

    The pairs with the lowest ids come first: a vocabulary begins with what is most frequent, and that was trained.
    """
    ids = vocabulary.ids
    found = set()
    for token, number in ids.items():
        for other in _near(token):
            if other in ids and ids[other] != number:
                found.add((number, ids[other]))
    return sorted(found, key=lambda pair: (max(pair), min(pair)))[:most]


def _near(token: str) -> Iterator[str]:
    """What means nearly the same as a token of Latin letters."""
    mark = token[:1] if token[:1] in _SPACES else ""
    word = token[len(mark) :]
    if len(word) < _SHORTEST or not (word.isascii() and word.isalpha()):
        return
    if mark:
        yield word
    yield mark + word + "s"
    if word.islower():
        yield mark + word.capitalize()
