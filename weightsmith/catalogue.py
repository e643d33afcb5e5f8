"""The translations of locale/: of fixed phrases, and of sentences that are recognised by their fixed words.

A room makes a sentence with an f-string, and this text stands in JSON. The catalogue has the f-string as a template,
with `{}` for each value (`tools/messages.py` reads them from the sources): "{} of {} facts answered". A text fits where
the template's words stand in it in this order; the values between them are put into the translation by number. A value
is foreign and stays as it is, unless the translation says that it is a sentence itself: `{0:t}`. Clauses are joined by
semicolons, as many as there are, and each is a sentence of its own. Of all ways to read a text so, the one that
recognises most of its letters counts.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from gettext import GNUTranslations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FILE = Path(__file__).parent / "locale" / "zh_CN" / "LC_MESSAGES" / "weightsmith.mo"
_GAP = "{}"
_NUMBERED = re.compile(r"\{(\d)(:t)?\}")
_JOINT, _CHINESE_JOINT = "; ", "；"
_NAMED, _CHINESE_NAMED = "{}: ", "{0}："
# A template of fewer letters ("is {}") says little: it is taken for one only where all of its values fit, too.
_FEW_LETTERS = 7
# Longer texts, more clauses and sentences deeper inside each other are foreign: nobody reads them.
_LONGEST, _MOST_CLAUSES, _DEEPEST = 4000, 16, 6


@lru_cache(maxsize=1)
def chinese() -> Catalogue:
    """The catalogue, read once."""
    with _FILE.open("rb") as file:
        # gettext has no public way to list what a catalogue holds.
        entries = cast("dict[str, str]", vars(GNUTranslations(file))["_catalog"])
    return Catalogue({english: words for english, words in entries.items() if english})


class Reading(NamedTuple):
    """A text in Chinese. letters: how many of the English were recognised."""

    letters: int
    words: str


class Catalogue:
    """entries: English → translation. Named gaps make a phrase, `{}` a template, and none a text as it is."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = entries
        self._known: dict[str, Reading] = {}

    @cached_property
    def _templates(self) -> Mapping[str, Sequence[Template]]:
        """By their first word, where that is fixed; the others under none. Help has no need of them."""
        found: dict[str, list[Template]] = {}
        for english, words in self._entries.items():
            for template in _templates(english, words):
                found.setdefault(template.first_word, []).append(template)
        return found

    def phrase(self, english: str) -> str:
        """The translation of a fixed phrase, gaps and all; itself where there is none."""
        return self._entries.get(english, english)

    def sentence(self, text: str) -> str:
        """A text, in which what no template fits stays English."""
        return self._read(text, _DEEPEST).words

    def _read(self, text: str, deep: int) -> Reading:
        if not deep or len(text) > _LONGEST:
            return Reading(0, text)
        found = self._known.get(text)
        if found is None:
            whole = self._clause(text, deep)
            several = self._clauses(text.split(_JOINT), deep)
            found = self._known[text] = several if several.letters >= max(whole.letters, 1) else whole
        return found

    def _clauses(self, parts: Sequence[str], deep: int) -> Reading:
        """Each part a clause, or several together: a value may have a semicolon in it."""
        if not 1 < len(parts) <= _MOST_CLAUSES:
            return Reading(0, "")
        best = [Reading(0, "")]
        for end in range(1, len(parts) + 1):
            ways = []
            for begin in reversed(range(end)):  # of two readings the one with more clauses
                last = self._clause(_JOINT.join(parts[begin:end]), deep)
                if last.letters or end - begin == 1:
                    before = best[begin]
                    joint = _CHINESE_JOINT if begin else ""
                    ways.append(Reading(before.letters + last.letters, f"{before.words}{joint}{last.words}"))
            best.append(max(ways, key=lambda way: way.letters))
        return best[-1]

    def _clause(self, text: str, deep: int) -> Reading:
        # A single word may be a name that somebody chose; the catalogue has words for headings.
        exact = self._entries.get(text) if " " in text else None
        if exact:
            return Reading(len(text), exact)
        if " " not in text:
            return Reading(0, text)
        ways = self._fitting(text, deep)
        return max(ways, key=lambda way: way.letters, default=Reading(0, text))

    def _fitting(self, text: str, deep: int) -> Iterator[Reading]:
        for word in dict.fromkeys((text.partition(" ")[0], "")):
            for template in self._templates.get(word, ()):
                values = template.values(text)
                reading = None if values is None else self._filled(template, values, deep)
                if reading is not None:
                    yield reading

    def _filled(self, template: Template, values: Sequence[str], deep: int) -> Reading | None:
        """None where the template says too little to be believed."""
        said, letters = list(values), template.letters
        for number in template.sentences:
            inner = self._read(values[number].strip(), deep - 1)
            if template.few and " " in values[number].strip() and not inner.letters and template.says:
                return None
            said[number] = inner.words
            letters += inner.letters
        if letters == template.letters and not template.says:
            return None  # punctuation around what is foreign
        return Reading(letters, template.filled(said))


def _templates(english: str, words: str) -> Iterator[Template]:
    """Of an entry with gaps. What names a file first is also said without it, where the file stands elsewhere."""
    if _GAP in english:
        yield Template(english, words)
    if english.startswith(_NAMED) and words.startswith(_CHINESE_NAMED):
        others = words.removeprefix(_CHINESE_NAMED)
        fewer = _NUMBERED.sub(lambda gap: f"{{{int(gap[1]) - 1}{gap[2] or ''}}}", others)
        alone = Template(english.removeprefix(_NAMED), fewer)
        if alone.says and len(alone.pieces) > 1:
            yield alone


class Template:
    """An English sentence with gaps.

    pieces: the fixed words around the gaps. says: they are more than punctuation. letters: how many they are. few: so
    few that they say little. words: the translation. sentences: the numbers of gaps that are sentences themselves.
    first_word: of the text, empty where it is no fixed one.
    """

    def __init__(self, english: str, words: str) -> None:
        self.pieces = tuple(english.split(_GAP))
        self.words = words
        self.letters = sum(map(len, self.pieces))
        self.says = any(letter.isalpha() for piece in self.pieces for letter in piece)
        self.few = self.letters < _FEW_LETTERS
        self.sentences = {int(gap[1]) for gap in _NUMBERED.finditer(words) if gap[2]}
        self.first_word = self.pieces[0].partition(" ")[0] if " " in self.pieces[0].lstrip() else ""
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
