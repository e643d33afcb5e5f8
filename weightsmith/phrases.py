"""What people are told, as values in no language: a `Phrase` with its gaps, or a `Sentence` that a room has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phrase(NamedTuple):  # `--help` does without dataclasses
    """A fixed sentence in English, which `language.spoken` says in another language. values: by name of its gaps."""

    english: str
    values: Mapping[str, Text]


class Sentence(str):
    """A sentence in English that somebody else has filled in; it is recognised by its words, see `catalogue`.

    The rooms below know of no language: what they say is text, which JSON has as it is. Who shows it to people marks
    it so. All other text is foreign (names, values, paths) and is never translated.
    """

    __slots__ = ()


def say(english: str, /, **values: object) -> Phrase:
    """A phrase; what fills its gaps is a phrase or a sentence itself, or anything as text."""
    return Phrase(english, {k: v if isinstance(v, Phrase | Sentence) else str(v) for k, v in values.items()})


# A plain `str` is foreign.
Text: TypeAlias = Phrase | str
