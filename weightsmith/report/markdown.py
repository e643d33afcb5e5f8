"""Markdown in which text that others wrote stays text: no markup, link, image, HTML or control character."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.foreign_text import shortened, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Characters of one piece of text; the answers of a model and the last line of a log stay below.
_LONGEST = 2000
# What begins markup. An underscore within a word does not, as in hidden_size; `://` and `www.` make links.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Header, rule and rows."""
    lines = [[_cell(name) for name in header], ["---"] * len(header), *(map(_cell, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(foreign: str) -> str:
    """Any text, to stand in a cell or a sentence: on one line, and read as it is."""
    one_line = visible(foreign.replace("\r", "").replace("\n", "⏎"))
    marked = _MARKUP.sub(r"\\\g<0>", shortened(one_line, _LONGEST))
    return re.sub("[&<>]", lambda found: _HTML[found[0]], marked)


def code(foreign: str, language: str = "") -> str:
    """One line of code in a fence that it cannot end."""
    longest = max(map(len, re.findall("`+", foreign)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible(foreign)}\n{fence}"


def _cell(value: object) -> str:
    return "" if value is None else text(str(value))
