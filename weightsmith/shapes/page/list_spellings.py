"""Other ways to say which kind each layer is: letters in a row, older words, or the numbers of the layers of a kind.

A page has one list of words, an item for each layer. Published configs may have `hybrid_override_pattern: "M-M*"`,
`layer_types: ["mamba", "attention"]` or `full_attn_idxs: [2, 5]` instead, and the config class makes that list of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from weightsmith.shapes.page.value import is_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.json_value import Json


class ListSpellingDocument(TypedDict, total=False):
    """One entry of a page's `list_spellings` as its JSON file has it; docs/families.md describes the keys."""

    list: str
    name: str
    words: dict[str, str]
    places: dict[str, str]
    others: str | None
    first: int
    longer: bool


@dataclass(frozen=True, slots=True)
class OtherWords:
    """A list under another name, or of other words or numbers; or a string with one letter for each layer.

    field: the page's list. name: the setting that says it, which may be the same. words: theirs, numbers in digits, →
    the page's. longer: it may go on behind the last layer, with what a draft layer is.
    """

    field: str
    name: str
    words: Mapping[str, str]
    longer: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, said: Mapping[str, Json], length: int | None) -> list[Json] | None:
        """The page's list; None where the file has it in the page's own words, or in words that nobody knows.

        said: the value of each of `names`. length: how many layers there are, which most words need not be told.
        """
        items, own = _texts(said[self.name]), set(self.words.values())
        if not items or not all(item in self.words or item in own for item in items):
            return None
        if self.name == self.field and own.issuperset(items):
            return None
        kept = items[:length] if self.longer and length else items
        return [self.words.get(item, item) for item in kept]

    def write(self, items: Sequence[Json], said: Mapping[str, Json]) -> dict[str, Json] | None:
        """The page's list in the words and under the name of the file; None where these cannot say it."""
        before = said[self.name]
        theirs = Counter(_texts(before))
        back = {self.words[word]: word for word in sorted(self.words, key=lambda word: theirs[word])}
        words = [back.get(str(item)) for item in items]
        if isinstance(before, str):
            return None if None in words else {self.name: "".join(map(str, words))}
        if isinstance(before, list) and before and all(map(is_number, before)):
            beyond = before[len(items) :] if self.longer else []
            numbers = [int(word) for word in words if word is not None and word.isdecimal()]
            return {self.name: [*numbers, *beyond]} if len(numbers) == len(words) else None
        if not any(word in theirs for word in self.words):
            return {self.name: list(items)}
        return {self.name: [word or item for word, item in zip(words, items, strict=True)]}


def _texts(said: Json) -> list[str]:
    """The items of a list as words, or the letters of a string; none where it is something else."""
    if isinstance(said, str):
        return list(said)
    alike = isinstance(said, list) and all(isinstance(item, str) or is_number(item) for item in said)
    return list(map(str, said)) if isinstance(said, list) and alike else []


@dataclass(frozen=True, slots=True)
class Places:
    """The numbers of the layers of a kind.

    field: the page's list. kinds: setting → the kind of the layers that it names. others: the kind of all that none
    names; None where every layer is named. first: the number of the first layer.
    """

    field: str
    kinds: Mapping[str, str]
    others: str | None
    first: int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    def read(self, said: Mapping[str, Json], length: int | None) -> list[Json] | None:
        """The page's list, see `OtherWords.read`; None, too, where a number names no layer, or a layer has no kind."""
        if length is None:
            return None
        items: list[Json] = [self.others] * length
        for name, kind in self.kinds.items():
            numbers = said[name]
            if not isinstance(numbers, list):
                return None
            for number in numbers:
                if not isinstance(number, int) or not 0 <= number - self.first < length:
                    return None
                items[number - self.first] = kind
        return None if None in items else items

    def write(self, items: Sequence[Json], said: Mapping[str, Json]) -> dict[str, Json] | None:
        """The page's list as numbers, see `OtherWords.write`; in the file's own order where they are the same."""
        kinds = {*self.kinds.values(), *([self.others] if self.others else [])}
        if not kinds.issuperset(map(str, items)):
            return None
        found: dict[str, Json] = {}
        for name, kind in self.kinds.items():
            numbers: list[Json] = [place + self.first for place, item in enumerate(items) if item == kind]
            before = said[name]
            same = isinstance(before, list) and Counter(map(str, before)) == Counter(map(str, numbers))
            found[name] = before if same else numbers
        return found


ListSpelling: TypeAlias = OtherWords | Places


def parse_list_spelling(document: ListSpellingDocument) -> ListSpelling:
    """The spelling that an entry of a page describes."""
    if "words" in document:
        longer = document.get("longer", False)
        return OtherWords(document["list"], document["name"], dict(document["words"]), longer)
    return Places(
        document["list"], dict(document["places"]), document.get("others"), document.get("first", 0)
    )
