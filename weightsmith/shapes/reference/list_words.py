"""In which other ways a config class takes a list of kinds of layers, found out by saying one in each of them."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

from weightsmith.shapes.reference.config_fields import flatten, nested
from weightsmith.shapes.reference.layer_words import layer_words, old_layer_words
from weightsmith.shapes.reference.synonyms import config_of, owner_of_field, taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from weightsmith.json_value import Json
    from weightsmith.shapes.page.list_spellings import ListSpellingDocument
    from weightsmith.shapes.page.value import Value

# As many layers are asked for: enough that one place is the exception.
_LAYERS = 5
# Objects that a class opens by itself, and the settings in them that may number layers: what is tried, no more.
_OBJECT, _NUMBERS = re.compile(r"_config$"), re.compile(r"layer|idx|indices|freq")


def list_spellings(
    model_type: str, kinds: Mapping[str, Sequence[str]], lengths: Mapping[str, str]
) -> list[ListSpellingDocument]:
    """The entries of a page's `list_spellings` (docs/families.md).

    kinds: for each list of the page, the words that its items may be. lengths: the field that counts a list, where
    there is one.
    """
    found: list[ListSpellingDocument] = []
    for field, words in kinds.items():
        asked = _Asked(model_type, field, tuple(words), lengths.get(field))
        found += [*_other_words(asked), *_letters(asked), *_flags(asked)]
        if asked.count:
            found += [*_places(asked), *_places_in_objects(asked)]
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """One list of one type. kinds: the words that the page has for its items. count: the field that counts them."""

    model_type: str
    field: str
    kinds: tuple[str, ...]
    count: str | None

    def made(self, stated: Mapping[str, Json], length: int = _LAYERS) -> tuple[str, ...] | None:
        """The list that the class makes of these settings, for so many layers; None where it makes none."""
        counted = {self.count: length} if self.count else {}
        config = config_of(self.model_type, nested({**counted, **stated}))
        items = flatten(config).get(self.field) if config is not None else None
        kinds = tuple(item for item in items if isinstance(item, str)) if isinstance(items, tuple) else ()
        return kinds if len(kinds) == length else None

    def meanings(
        self, name: str, tried: Iterable[str], joined: Callable[[list[str]], Json]
    ) -> dict[str, str]:
        """Word → the kind of the layers that a model has of which every layer is so called in the setting `name`."""
        found = {}
        for word in tried:
            made = self.made({name: joined([word] * _LAYERS)})
            if made and made[0] in self.kinds and made == made[:1] * _LAYERS:
                found[word] = made[0]
        return found

    def tells(self, name: str, words: Mapping[str, str], joined: Callable[[list[str]], Json]) -> bool:
        """Whether the class reads a setting that has all of the words, twice, word by word."""
        said = [*words, *words]
        mixed = len(set(words.values())) > 1
        return mixed and self.made({name: joined(said)}, len(said)) == tuple(words[word] for word in said)

    def cuts(self, name: str, words: Mapping[str, str], joined: Callable[[list[str]], Json]) -> bool:
        """Whether the class takes a longer list than there are layers, as one that counts a draft layer, too."""
        said = [*words]
        return self.made({name: joined([*said, said[0]])}, len(said)) == tuple(words.values())

    def beside(self) -> tuple[list[str], list[str]]:
        """(other names that the class has for the list; settings that it may make the list of), all dotted."""
        owner = owner_of_field(config_of(self.model_type, {}), self.field)
        if owner is None:
            return [], []
        prefix, _, last = self.field.rpartition(".")
        kind: type = type(owner)
        aliases = [a for a, n in (getattr(owner, "attribute_map", None) or {}).items() if n == last]
        declared = [n for n, v in vars(owner).items() if v is None or _are_places(v)]
        aside = {last, *aliases, *_of_every_config()}
        others = [n for n in dict.fromkeys((*taken(kind), *declared)) if n not in aside]
        return [f"{prefix}.{n}".lstrip(".") for n in aliases], [f"{prefix}.{n}".lstrip(".") for n in others]

    def strings(self) -> list[str]:
        """The words and letters in the code of the class that has the list."""
        owner = owner_of_field(config_of(self.model_type, {}), self.field)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(type(owner))))
        except (OSError, TypeError, SyntaxError):
            return []
        texts = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        return [text for text in dict.fromkeys(texts) if len(text) == 1 or text.isidentifier()]

    def numbers(self) -> list[str]:
        """The numbers that stand for words in tables beside the class that has the list: `{0: "full", 4: "sparse"}`."""
        owner = owner_of_field(config_of(self.model_type, {}), self.field)
        try:
            tree = ast.parse(inspect.getsource(sys.modules[type(owner).__module__]))
        except (OSError, TypeError, SyntaxError, KeyError):
            return []
        keys = (key for table in ast.walk(tree) if isinstance(table, ast.Dict) for key in table.keys)
        found = (key.value for key in keys if isinstance(key, ast.Constant))
        return list(dict.fromkeys(str(number) for number in found if type(number) is int))


@cache
def _of_every_config() -> frozenset[str]:
    """Settings that every class has, such as `dtype`. None is a list of layers, and some of them no class can print."""
    import transformers

    return frozenset(vars(transformers.PretrainedConfig()))


def _are_places(value: Value) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _other_words(asked: _Asked) -> Iterator[ListSpellingDocument]:
    """Older words for the items, also under another name of the list."""
    usual = dict.fromkeys((*asked.kinds, *old_layer_words()))
    every = usual | dict.fromkeys((*layer_words(), *asked.strings()))
    aliases, others = asked.beside()
    older = {w: k for w, k in asked.meanings(asked.field, every, list).items() if w != k}
    if older:
        yield {"list": asked.field, "name": asked.field, "words": older}
    for name in (*aliases, *others):
        words = asked.meanings(name, usual if name in others else every, list)
        if asked.tells(name, words, list):
            yield {"list": asked.field, "name": name, "words": words}


def _letters(asked: _Asked) -> Iterator[ListSpellingDocument]:
    """A string with a letter for each layer."""
    letters = [text for text in asked.strings() if len(text) == 1]
    for name in asked.beside()[1] if len(letters) > 1 else ():
        words = asked.meanings(name, letters, "".join)
        if asked.tells(name, words, "".join):
            yield {"list": asked.field, "name": name, "words": words}


def _flags(asked: _Asked) -> Iterator[ListSpellingDocument]:
    """A list with a number for each layer, 0 or 1 or one that the code has a word for, which may stand in an object."""
    others = asked.beside()[1]
    inside = [f"{o}.{n}" for o in others if _OBJECT.search(o) for n in asked.strings() if _NUMBERS.search(n)]
    for name in (*others, *inside):
        words = asked.meanings(name, dict.fromkeys(("0", "1", *asked.numbers())), _as_numbers)
        if asked.tells(name, words, _as_numbers):
            longer = asked.cuts(name, words, _as_numbers)
            cut: ListSpellingDocument = {"longer": True} if longer else {}
            yield {"list": asked.field, "name": name, "words": words, **cut}


def _as_numbers(words: list[str]) -> Json:
    return list(map(int, words))


def _places(asked: _Asked) -> Iterator[ListSpellingDocument]:
    """A list of the layers that are of a kind, all others being of another."""
    for name in asked.beside()[1]:
        made = asked.made({name: [2]}) or ()
        single = [i for i, kind in enumerate(made) if made.count(kind) == 1]
        if len(single) != 1 or len(set(map(str, made))) != 2:
            continue
        kind, others, first = made[single[0]], made[single[0] - 1], 2 - single[0]
        wanted = tuple(kind if i in (1, 3) else others for i in range(_LAYERS))
        if asked.made({name: [1 + first, 3 + first]}) == wanted:
            yield {"list": asked.field, "places": {name: kind}, "others": others, "first": first}


def _places_in_objects(asked: _Asked) -> Iterator[ListSpellingDocument]:
    """Two lists in an object, which between them name every layer."""
    numbers = [text for text in asked.strings() if _NUMBERS.search(text)]
    for owner in (name for name in asked.beside()[1] if _OBJECT.search(name)):
        for one, other in combinations(numbers, 2):
            for first in (0, 1):
                kinds = _kinds_of_two(asked, owner, (one, other), first)
                if kinds:
                    places = {f"{owner}.{one}": kinds[0], f"{owner}.{other}": kinds[1]}
                    yield {"list": asked.field, "places": places, "first": first}
                    return


def _kinds_of_two(asked: _Asked, owner: str, names: tuple[str, str], first: int) -> tuple[str, str] | None:
    """The kinds of the layers that two settings of an object number from `first` on, where the class reads them."""
    odd: Json = [1 + first, 3 + first]
    even: Json = [first, 2 + first, 4 + first]
    made = asked.made({owner: dict(zip(names, (odd, even), strict=True))})
    turned = asked.made({owner: dict(zip(names, (even, odd), strict=True))})
    if not made or not turned:
        return None
    other, one = made[:2]
    alternate, swapped = (
        tuple((a, b)[i % 2] for i in range(_LAYERS)) for a, b in ((other, one), (one, other))
    )
    return (one, other) if one != other and made == alternate and turned == swapped else None
