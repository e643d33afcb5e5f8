"""Which names of other modules a Python text uses, read as a stream of words; aliases are undone.

`import numpy as np` makes `np.load` the use of `numpy.load`. Texts and comments use nothing, but for the braces of
f-strings. What a text hides on purpose (names put together from pieces, objects passed around) is not found.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize

from weightsmith.values.beside.dangers import BUILT_IN, INWARD, REFLECTED
from weightsmith.values.code_claims import Word, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A text without a brace within these is found once, from the nearest brace before it: linear.
_BRACES = re.compile(r"\{([^{}]+)\}")
# In words: to begin anew within an f-string takes as long.
_BRACES_COST = 8
_F_STRING = re.compile(r"[rR]?[fFtT][rR]?")
# PEP 263: of the first two lines. Another encoding can make code of what is read here as a comment.
_CODING = re.compile(r"\A(?:[^\n]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*([-\w.]+)")
_PLAIN_TEXT = frozenset({"utf-8", "utf8", "ascii", "us-ascii", "latin-1", "iso-8859-1"})
# A line that begins with a dot goes on with the name before it.
_GOES_ON = re.compile(r"\n\s*\.(?=[^\W\d])")
_START = Word("line", "\n", 0)


class Use(NamedTuple):
    """A dotted name, and the character of the text as Python reads it (`as_read`) where it stands."""

    name: str
    at: int


def as_read(code: str) -> str:
    """The text with the line ends that Python makes of all others."""
    return code.replace("\r\n", "\n").replace("\r", "\n")


def uses(code: str, budget: Iterator[int]) -> list[Use]:
    """Every name that is used, in the order of the code. code: of `as_read`.

    budget: one item for each word that may still be read, of this code and of what follows.
    """
    coding = _CODING.match(code)
    hidden = coding is not None and coding[1].lower().replace("_", "-") not in _PLAIN_TEXT
    joined = code.replace("\\\n", "  ")  # lines that are one: as long as they were
    found = _read(joined, budget).uses()
    return [Use("coding", 0), *found] if hidden else found


def _read(code: str, budget: Iterator[int]) -> _Reader:
    reader = _Reader(code, budget)
    for word, _ in zip(words(code), budget, strict=False):
        if not (word.kind == "line" and _GOES_ON.match(code, word.at)):
            reader.take(word)
    reader.take(Word("line", "\n", len(code)))
    return reader


class _Import:
    """The words of an import statement, which begins at a character, and how many brackets are open in it."""

    def __init__(self, word: Word) -> None:
        self.words, self.at, self.open = [word.what], word.at, 0


class _Reader:
    """Follows dotted names and import statements, and remembers the last words."""

    def __init__(self, code: str, budget: Iterator[int]) -> None:
        self._code, self._budget = code, budget
        self._aliases: dict[str, str] = {}
        # Names as they stand there, for `uses`; of what is imported the whole name behind an empty one.
        self._found: list[tuple[tuple[str, ...], int]] = []
        self._import: _Import | None = None
        # The name that is being read, where it begins, and the word before it; empty: none, or one of an expression.
        self._chain: list[str] = []
        self._chain_at, self._before = 0, _START
        self._earlier, self._last = _START, _START
        # The name before the last sign, where that is `=` or `(`.
        self._given = self._called = ""

    def uses(self) -> list[Use]:
        """With the aliases of the whole text: a function may use what is imported below it."""
        return [Use(name, at) for chain, at in self._found for name in self._resolved(chain)]

    def take(self, word: Word) -> None:
        """One word more; a name as Python reads it."""
        self._take_braces(word)
        if word.kind == "name" and not word.what.isascii():
            word = word._replace(what=normalize("NFKC", word.what))
        if word.what in INWARD and word.kind == "name":
            self._found.append((("", word.what), word.at))
        begins = self._last.kind == "line" or self._last.what in (";", ":")
        if self._import is not None:
            self._take_import(self._import, word)
        elif begins and word.kind == "name" and word.what in ("import", "from"):
            self._import = _Import(word)
        elif word.kind == "name" and self._last.what == ".":
            self._chain += [word.what] if self._chain else []
        elif word.what != ".":
            self._close(word)
            if word.kind == "name":
                self._chain, self._chain_at, self._before = [word.what], word.at, self._last
        elif self._last.kind != "name":  # of a call, or of a text: what it belongs to is not known
            self._chain = []
        self._earlier, self._last = self._last, word

    def _take_braces(self, word: Word) -> None:
        """What an f-string computes, once the word behind it tells where it ends."""
        text, prefix = self._last, self._earlier
        adjacent = prefix.kind == "name" and prefix.at + len(prefix.what) == text.at
        if text.kind == "text" and adjacent and _F_STRING.fullmatch(prefix.what):
            for braces in _BRACES.finditer(self._code, text.at, word.at):
                if next(islice(self._budget, _BRACES_COST - 1, None), None) is None:
                    return
                inner = _read(braces[1], self._budget)
                self._found += [(chain, text.at) for chain, _ in inner._found]

    def _take_import(self, statement: _Import, word: Word) -> None:
        statement.open += {"(": 1, ")": -1}.get(word.what, 0)
        if word.what == ";" or (word.kind == "line" and statement.open <= 0):
            self._import = None
            for name, bound, to in _imported(statement.words):
                self._found.append((("", name), statement.at))
                self._aliases |= {bound: to} if bound else {}
        elif word.kind in ("name", "sign") and word.what not in ("(", ")"):
            statement.words.append(word.what)

    def _close(self, behind: Word) -> None:
        """A name is whole. Of a single one only calls and values count: parameters may have any name."""
        chain, before, given, called = self._chain, self._before.what, self._given, self._called
        if not chain:
            return
        self._chain, defined = [], before in ("def", "class")
        self._given = chain[-1] if behind.what == "=" else ""
        self._called = chain[-1] if behind.what == "(" and not defined else ""
        if before == "=" and given == "trust_remote_code" and chain == ["True"]:
            self._found.append((("", "trust_remote_code=True"), self._chain_at))
        if before == "(" and called == "getattr":
            self._found.append((("getattr", *chain), self._chain_at))
        if not defined and (len(chain) > 1 or behind.what == "(" or before == "="):
            self._found.append((tuple(chain), self._chain_at))

    def _resolved(self, chain: Sequence[str]) -> Iterator[str]:
        head, *rest = chain
        if head == "":
            yield from rest
        elif head == "getattr" and rest:
            of = self._aliases.get(rest[0], rest[0])
            yield from [f"getattr({of})"] if of in REFLECTED else []
        elif head in self._aliases or (not rest and head in BUILT_IN):
            yield ".".join((self._aliases.get(head, head), *rest))


def _imported(statement: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(dotted name, what it binds here, and to which name) of the words of an import statement.

    `import a.b` binds a to a; `import a.b as c` binds c to a.b. "" for what binds nothing that is looked for.
    """
    if statement[0] == "from":
        if "import" not in statement[1:]:
            return
        middle = statement.index("import", 1)
        module, names = "".join(statement[1:middle]), statement[middle + 1 :]
        if not module.startswith("."):
            for name, bound in _listed(names):
                yield f"{module}.{name}", "" if name == "*" else bound, f"{module}.{name}"
        return
    for name, bound in _listed(statement[1:]):
        head = name.partition(".")[0]
        yield (name, head, head) if bound == name else (name, bound, name)


def _listed(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, its alias or itself) of names with commas between."""
    entry: list[str] = []
    for word in (*words, ","):
        if word != ",":
            entry.append(word)
        elif entry:
            name = "".join(entry[: entry.index("as")] if "as" in entry else entry)
            yield name, entry[-1] if "as" in entry else name
            entry = []
