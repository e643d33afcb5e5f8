"""The translations of locale/: of fixed phrases, and of sentences that are recognised by their fixed words.

A room makes a sentence with an f-string, and this text stands in JSON. The catalogue has the f-string as a template,
with `{}` for each value (`tools/messages.py` reads them from the sources): "{} of {} facts answered". A text fits where
the template's words stand in it in this order; the values between them are put into the translation by number. Of
several templates the one with the most letters counts. A value is foreign and stays as it is, unless the translation
says that it is a sentence itself: `{0:t}`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from gettext import GNUTranslations
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FILE = Path(__file__).parent / "locale" / "zh_CN" / "LC_MESSAGES" / "weightsmith.mo"
_GAP = "{}"
_NUMBERED = re.compile(r"\{(\d)(:t)?\}")
# A template of fewer letters than these ("is {}") says little: it is taken for one where its values are single words.
_FEW_LETTERS = 8
# Between clauses, which are translated one by one: rooms join as many as there are.
_JOINT, _CHINESE_JOINT = "; ", "；"


@lru_cache(maxsize=1)
def chinese() -> Catalogue:
    """The catalogue, read once."""
    with _FILE.open("rb") as file:
        # gettext has no public way to list what a catalogue holds.
        entries = cast("dict[str, str]", vars(GNUTranslations(file))["_catalog"])
    return Catalogue({english: words for english, words in entries.items() if english})


class Catalogue:
    """entries: English → translation. Named gaps make a phrase, `{}` a template, and none a text as it is."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = entries
        templates = [Template(english, words) for english, words in entries.items() if _GAP in english]
        self._templates = sorted(
            (one for one in templates if one.says), key=lambda one: (-one.letters, one.pieces)
        )
        self._envelopes = [one for one in templates if not one.says]
        self._known: dict[str, str | None] = {}

    def phrase(self, english: str) -> str:
        """The translation of a fixed phrase, gaps and all; itself where there is none."""
        return self._entries.get(english, english)

    def sentence(self, text: str) -> str:
        """A text, clause by clause, in which what no template fits stays English."""
        if _JOINT in text and text in self._entries:
            return self._entries[text]
        clauses, said = text.split(_JOINT), []
        while clauses:
            size, clause = self._first(clauses)
            said.append(clause)
            del clauses[:size]
        return _CHINESE_JOINT.join(said)

    def _first(self, clauses: list[str]) -> tuple[int, str]:
        """How many pieces are the first clause (a value may have a `; ` in it), and what it says.

        What wraps a clause, as a name before it, wraps all that follow.
        """
        first = self._clause(clauses[0])
        if first is not None:
            return 1, first
        whole = self._wrapped(_JOINT.join(clauses))
        if whole is not None:
            return len(clauses), whole
        for size in range(2, len(clauses) + 1):
            longer = self._clause(_JOINT.join(clauses[:size]))
            if longer is not None:
                return size, longer
        return 1, clauses[0]

    def _clause(self, text: str) -> str | None:
        if text not in self._known:
            # A single word may be a name that somebody chose; the catalogue has words for headings.
            exact = self._entries.get(text) if " " in text else None
            self._known[text] = exact or self._fitted(text, self._templates)
        return self._known[text]

    def _wrapped(self, text: str) -> str | None:
        """None where nothing inside is known: then it is foreign as a whole."""
        for envelope in self._envelopes:
            values = envelope.values(text)
            if values is not None and any(self.sentence(value) != value for value in values):
                return self._fitted(text, [envelope])
        return None

    def _fitted(self, text: str, templates: Iterable[Template]) -> str | None:
        for template in templates:
            values = template.values(text)
            if values is not None and self._is_meant(template, values):
                said = (
                    self.sentence(v.strip()) if n in template.sentences else v for n, v in enumerate(values)
                )
                return template.filled(list(said))
        return None

    def _is_meant(self, template: Template, values: Sequence[str]) -> bool:
        """A template of few letters says so little that the sentences in it have to be known, too."""
        unsure = template.few and template.says
        sentences = [values[number] for number in template.sentences] if unsure else ()
        return all(" " not in value or self.sentence(value) != value for value in sentences)


class Template:
    """An English sentence with gaps.

    pieces: the fixed words around the gaps. says: they are more than punctuation. letters: how many they are.
    words: the translation. sentences: the numbers
    of gaps that are sentences themselves.
    """

    def __init__(self, english: str, words: str) -> None:
        self.pieces = tuple(english.split(_GAP))
        self.words = words
        self.letters = sum(map(len, self.pieces))
        self.says = any(letter.isalpha() for piece in self.pieces for letter in piece)
        self.sentences = {int(gap[1]) for gap in _NUMBERED.finditer(words) if gap[2]}
        self.few = self.letters < _FEW_LETTERS
        self._single = [n for n in range(len(self.pieces) - 1) if self.few and n not in self.sentences]

    def values(self, text: str) -> list[str] | None:
        """What fills the gaps, which may be nothing; None where the text is another one.

        Each piece is found where it first stands: this needs no way back, so that no text can make it slow.
        """
        first, *inner, last = self.pieces
        end = len(text) - len(last)
        if not text.startswith(first) or not text.endswith(last) or end < len(first):
            return None
        values, begin = [], len(first)
        for piece in inner:
            at = text.find(piece, begin, end)
            if at < 0:
                return None
            values.append(text[begin:at])
            begin = at + len(piece)
        values.append(text[begin:end])
        return None if any(" " in values[number] for number in self._single) else values

    def filled(self, values: Sequence[str]) -> str:
        """The translation of the sentence with these values."""
        return _NUMBERED.sub(lambda gap: values[int(gap[1])], self.words)
