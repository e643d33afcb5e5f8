"""A report as values: sections of paragraphs, tables, code and plots, in no language and no format.

Fixed text is a `Phrase`, which has a translation. A `str` is foreign text, and renderers show it as it is written;
a `Sentence` is one that a room has made (`weightsmith.phrases`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.phrases import Phrase, Text

if TYPE_CHECKING:
    from weightsmith.verify.checks import Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell that is a verdict. words: a command's own, in place of pass, fail and inconclusive."""

    verdict: Verdict
    words: Text | None = None


Cell: TypeAlias = Text | Judged | None


@dataclass(frozen=True, slots=True)
class Column:
    """kind: "number" is set to the right, "long" may be folded, "code" keeps its width."""

    title: Text
    kind: Literal["text", "number", "long", "code"] = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """A row has a cell for each column. folded: its title, where HTML shows the table only when asked."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: Phrase | None = None


@dataclass(frozen=True, slots=True)
class Paragraph:
    """strong: what must not be missed."""

    text: Text
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list: what each thing is, and what there is to say of it."""

    items: tuple[tuple[Text, Text], ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Lines to copy. language: "sh" or "python"."""

    lines: tuple[str, ...]
    language: str


@dataclass(frozen=True, slots=True)
class Series:
    """name: in the legend. values: one for each place of the plot's axis, None where there is none."""

    name: Phrase
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Dots:
    """Values by number on a logarithmic axis. line: a level to compare with, and what it is."""

    title: Phrase
    axis: Phrase
    series: tuple[Series, ...]
    line: tuple[Phrase, float] | None = None


@dataclass(frozen=True, slots=True)
class Scatter:
    """Points (x, y) in the same unit, about the line on which both are equal."""

    title: Phrase
    x: Phrase
    y: Phrase
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """length: what is drawn; shown: the same in figures. good: its colour, None for neither."""

    label: Text
    length: float
    shown: str
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars below each other. limit: a place to compare with, and its name. whole: the axis' end; None: the longest."""

    title: Phrase
    bars: tuple[Bar, ...]
    limit: tuple[Phrase, float] | None = None
    whole: float | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """A map of small cells, the darker the larger the value, on a logarithmic scale.

    columns: their names. rows: (name, a value for each column, None where there is nothing; 0 is the lightest).
    """

    title: Phrase
    axis: Phrase
    columns: tuple[str, ...]
    rows: tuple[tuple[Text, tuple[float | None, ...]], ...]


Plot: TypeAlias = Dots | Scatter | Bars | Grid
Block: TypeAlias = Table | Paragraph | Items | Code | Plot


@dataclass(frozen=True, slots=True)
class Section:
    """level: 2 for one of the report's, 3 for a part of the one before."""

    title: Phrase
    blocks: tuple[Block, ...]
    level: Literal[2, 3] = 2


@dataclass(frozen=True, slots=True)
class Report:
    """title, then the verdict with what it counts, then the sections."""

    title: Phrase
    verdict: Judged
    summary: tuple[Text, ...]
    sections: tuple[Section, ...]
