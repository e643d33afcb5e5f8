"""Text and tables fitted to a width: lines break at spaces, long names where they are joined, numbers never.

Pure functions from text to lines; `terminal` writes these.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Between two columns, and before what stands under a row.
_GAP, _UNDER = 2, 4
# A note gets a column of its own where that is at least as wide as this; else it stands under its row.
_NARROWEST_NOTE = 36

# A piece of a long word: it ends behind what joins the parts of a name or path, but not inside a number.
_PIECE = re.compile(r".+?(?:(?<=[./_=,;:)\]-])(?![0-9])(?!$)|(?<=[^0-9][./_=,;:)\]-])(?!$)|$)")
# A piece of a text with ideographs: one of these, or what stands between two. What opens or closes goes with it.
_WIDE, _OPENING, _CLOSING = r"\u3000-\u9fff\uff00-\uffef", "（《「『【“‘", "，。、；：！？）》」』】”’…"
_RUN = re.compile(
    rf"[{_OPENING}]*(?:(?![{_OPENING}{_CLOSING}])[{_WIDE}]|[^{_WIDE}{_OPENING}{_CLOSING}]+)[{_CLOSING}]*"
    rf"|[{_OPENING}]*[{_CLOSING}]+|[{_OPENING}]+"
)
_ANY_WIDE = re.compile(f"[{_WIDE}]")


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal: two for each wide character, none for what joins the one before."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fold(text: str, width: int, indent: int = 0) -> list[str]:
    """The text in lines of at most `width` columns; all but the first begin with `indent` more spaces than it does.

    A line is wider only where a piece of it cannot be broken.
    """
    if width_of(text) <= width:
        return [text.rstrip(" ")]
    margin = text[: len(text) - len(text.lstrip(" "))]
    lines, begin = [], margin
    current = ""
    for piece, gap in _pieces(text.strip(" "), max(width - len(margin) - indent, 1)):
        longer = f"{current}{gap}{piece}" if current else piece
        if current and len(begin) + width_of(longer) > width:
            lines.append(begin + current)
            begin, current = margin + " " * indent, piece
        else:
            current = longer
    return [*lines, (begin + current).rstrip(" ")]


def _pieces(text: str, room: int) -> Iterator[tuple[str, str]]:
    """(what may not be broken, what stands between it and what comes before): words, and the pieces of long ones."""
    for word in text.split(" "):
        runs = _RUN.findall(word) if _ANY_WIDE.search(word) else [word]
        pieces = [
            piece for run in runs for piece in ([run] if width_of(run) <= room else _PIECE.findall(run))
        ]
        for number, piece in enumerate(pieces or [""]):
            yield piece, "" if number else " "


@dataclass(frozen=True, slots=True)
class Table:
    """headers, rows: text of one line each. right: headers of the columns that are aligned to the right.

    note: whether the last column explains its row, so that it may stand under it.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()
    note: bool = False

    def fitted(self, width: int) -> Iterator[tuple[str, ...]]:
        """The cells of each printed line, padded: the headers, a rule, the rows. A note under its row is one cell."""
        under = self.note and not self._has_room_for_notes(width)
        headers, rows = (
            (self.headers[:-1], [r[:-1] for r in self.rows]) if under else (self.headers, self.rows)
        )
        widths = _widths([headers, *rows], width)
        yield from self._lines(headers, widths)
        yield tuple("-" * columns for columns in widths)
        for row, whole in zip(rows, self.rows, strict=True):
            yield from self._lines(row, widths)
            if under and whole[-1]:
                for part in fold(" " * _UNDER + whole[-1], width, 2):
                    yield (part,)

    def _has_room_for_notes(self, width: int) -> bool:
        natural = _natural([self.headers, *self.rows])
        left = width - sum(natural[:-1]) - _GAP * (len(natural) - 1)
        return left >= min(_NARROWEST_NOTE, natural[-1])

    def _lines(self, row: Sequence[str], widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
        cells = [fold(text, columns, 2) for text, columns in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            yield tuple(
                _padded(part, columns, right=header in self.right)
                for part, columns, header in zip(parts, widths, self.headers, strict=False)
            )


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def _natural(rows: Iterable[Sequence[str]]) -> list[int]:
    return [max(map(width_of, column)) for column in zip(*rows, strict=True)]


def _widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """As wide as the widest cell; where that is too wide together, the widest columns give, down to their pieces."""
    widths = _natural(rows)
    surplus = sum(widths) + _GAP * (len(widths) - 1) - width
    if surplus <= 0:
        return widths
    least = [
        max(max(map(width_of, _unbroken(cell))) for cell in column) for column in zip(*rows, strict=True)
    ]
    while surplus > 0 and (open_columns := [n for n in range(len(widths)) if widths[n] > least[n]]):
        widest = max(open_columns, key=lambda n: widths[n])
        widths[widest] -= 1
        surplus -= 1
    return widths


def _unbroken(cell: str) -> list[str]:
    """What of a cell no line break divides; a line that goes on is indented by two."""
    first, *others = [piece for piece, _ in _pieces(cell, 1)] or [""]
    return [first, *("  " + piece for piece in others)]
