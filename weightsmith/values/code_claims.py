"""What Python code states about a ternary quantizer and its group size, read as a stream of words.

Python's own parser takes time that grows with the square of some texts (f-strings, long integers) and some hundred
bytes for each byte of any: code of strangers is not given to it. What is looked for shows in a few words side by side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# Every character but blanks belongs to a word. A text without an end reaches to the end of its line: so each character
# is looked at once. A number counts only where a literal is all that stands there; what else has digits is a sign.
_WORD = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<long>\"{3}|'{3})
      | (?P<text>"[^"\\\n]*(?:\\.[^"\\\n]*)*"?|'[^'\\\n]*(?:\\.[^'\\\n]*)*'?)
      | (?P<name>[^\W\d]\w*)
      | (?P<number>-?(?:0[xX][0-9a-fA-F]{1,8}|[0-9]{1,9})(?=[ \t]*(?:[,;)}\]\#\r\n]|\Z)))
      | (?P<line>\n\s*)
      | (?P<sign>[()\[\]{}=:,;]|\w+|[^\s\w()\[\]{}=:,;\#"']+)""",
    re.VERBOSE,
)
_CLOSING = {")": "(", "]": "[", "}": "{"}
_GROUP_NAMES = frozenset({"group_size", "groupsize", "quant_group_size", "weight_group_size", "q_group_size"})


class Word(NamedTuple):
    """kind: "text" (what), "name", "number", "line" (its end) or "sign". at: the first character."""

    kind: str
    what: str
    at: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a place of the code says. at: the character where the statement begins.

    defined: the name of a class or function. text: a text that stands there. size: a group size; default: only where a
    caller gives none.
    """

    at: int
    what: str
    defined: str = ""
    text: str = ""
    size: int | None = None
    default: bool = False


@dataclass(slots=True)
class _Bracket:
    """An open bracket. called, defined: the name before it. option: the text that stands first in it."""

    sign: str
    at: int
    called: str = ""
    defined: str = ""
    option: str = ""


def is_group_name(value: str) -> bool:
    """Whether a name, an option or a key is one under which group sizes are stated."""
    return value.lstrip("-").replace("-", "_").lower() in _GROUP_NAMES


def words(code: str) -> Iterator[Word]:
    """The words of Python code, without comments; a text of several lines is an empty one."""
    at = 0
    while (found := _WORD.search(code, at)) is not None:
        at, kind = found.end(), found.lastgroup or ""
        if kind == "long":
            end = code.find(found[0], at)
            at = len(code) if end < 0 else end + 3
            yield Word("text", "", found.start())
        elif kind == "text":
            yield Word("text", found[0][1:].removesuffix(found[0][0]), found.start())
        elif kind == "line":
            yield Word(kind, "\n", found.start())
        elif kind != "comment":
            yield Word(kind, found[0], found.start())


_START = Word("line", "\n", 0)


def statements(code: str, budget: Iterator[int]) -> Iterator[Statement]:
    """What is defined, which texts there are, and every literal group size, in the order of the code.

    budget: one item for each word that may still be read, of this code and of what follows.
    """
    reader = _Reader()
    for word, _ in zip(words(code), budget, strict=False):
        yield from reader.take(word)


class _Reader:
    """Follows the brackets, and remembers the last words."""

    def __init__(self) -> None:
        self._open: list[_Bracket] = []
        self._last = (_START, _START, _START)
        # A name that may be followed by its value, perhaps with its type between: and how many brackets were open.
        self._named: tuple[Word, int] | None = None

    def take(self, word: Word) -> Iterator[Statement]:
        if word.kind == "name" and self._last[-1].what in ("class", "def"):
            yield Statement(word.at, f"defines {word.what}", defined=word.what)
        elif word.kind == "text":
            yield Statement(word.at, f'names the quantizer "{word.what}"', text=word.what)
        elif word.kind == "number":
            yield from self._sizes(int(word.what, 0 if "x" in word.what.lower() else 10))
        self._follow(word)
        if word.kind != "line" or not self._open:  # within brackets a line's end means nothing
            self._last = (*self._last[1:], word)

    def _follow(self, word: Word) -> None:
        last, depth = self._last[-1], len(self._open)
        if word.kind == "name":
            if is_group_name(word.what) or word.what == "default":
                # `if group_size: x = 64` has no type behind its colon.
                self._named = (word, depth) if last.kind != "name" else None
        elif word.what in ("(", "[", "{"):
            self._open.append(self._bracket(word))
        elif word.kind == "text" and last.what == "(" and self._open:
            self._open[-1].option = word.what
        elif word.what in _CLOSING and self._open and self._open[-1].sign == _CLOSING[word.what]:
            self._open.pop()
            self._forget(depth)
        elif word.what in (",", ";") or (word.kind == "line" and not depth):
            self._forget(depth)

    def _forget(self, depth: int) -> None:
        """What was named at this depth gets no value any more."""
        if self._named is not None and self._named[1] >= depth:
            self._named = None

    def _bracket(self, word: Word) -> _Bracket:
        before, last = self._last[-2:]
        if word.what != "(" or last.kind != "name":
            return _Bracket(word.what, word.at)
        if before.what == "def":
            return _Bracket("(", before.at, defined=last.what)
        return _Bracket("(", last.at, called=last.what)

    def _sizes(self, size: int) -> Iterator[Statement]:
        """The number that is read now, where it is the value of something."""
        if size != -1 and size <= 0:
            return
        before, last = self._last[-2:]
        inner = self._open[-1] if self._open else _Bracket("", 0)
        if last.what == ":" and before.kind == "text" and is_group_name(before.what):
            yield Statement(before.at, f'sets "{before.what}": {size}', size=size)
        is_value = last.what == "=" and (before.kind in ("name", "text") or before.what == "]")
        if self._named is None or not is_value or self._named[1] != len(self._open):
            return
        named = self._named[0]
        if named.what == "default":
            if inner.called and is_group_name(inner.option):
                what = f"has the option {inner.option} with default {size}"
                yield Statement(inner.at, what, size=size, default=True)
        elif inner.defined:
            what = f"gives {inner.defined} the default {named.what}={size}"
            yield Statement(inner.at, what, size=size, default=True)
        elif inner.called:
            yield Statement(inner.at, f"passes {named.what}={size}", size=size)
        else:
            yield Statement(named.at, f"sets {named.what} = {size}", size=size)
