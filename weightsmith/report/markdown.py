"""A report as Markdown, in which text that others wrote stays text: no markup, link, image, HTML or control character.

Plots are left out: the tables beside them have the same figures.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.foreign_text import shortened, visible
from weightsmith.language import spoken
from weightsmith.report.blocks import Code, Items, Judged, Paragraph, Table
from weightsmith.report.language import VERDICT, verdict_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from weightsmith.language import Language
    from weightsmith.report.blocks import Block, Cell, Report, Section

# Characters of one piece of text; the answers of a model and the last line of a log stay below.
_LONGEST = 2000
# What begins markup. An underscore within a word does not, as in hidden_size; `://` and `www.` make links.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|:(?=//)|(?<=www)\.", re.IGNORECASE)
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}


def render(report: Report, language: Language) -> str:
    """The whole report."""
    verdict = cell(report.verdict, language)
    parts = [
        f"# {cell(report.title, language)}",
        f"**{text(spoken(VERDICT, language))}: {verdict}**",
        *(cell(words, language) for words in report.summary),
        *(part for section in report.sections for part in _section(section, language)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section, language: Language) -> list[str]:
    heading = f"{'#' * section.level} {cell(section.title, language)}"
    return [heading, *(_block(block, language) for block in section.blocks)]


def _block(block: Block, language: Language) -> str:
    if isinstance(block, Paragraph):
        words = cell(block.text, language)
        return f"**{words}**" if block.strong else words
    if isinstance(block, Items):
        return "\n".join(
            f"- **{cell(what, language)}**: {cell(said, language)}" for what, said in block.items
        )
    if isinstance(block, Code):
        return code(block.lines, block.language)
    if isinstance(block, Table):
        drawn = table(
            [cell(column.title, language) for column in block.columns],
            [[cell(one, language) for one in row] for row in block.rows],
            {n for n, column in enumerate(block.columns) if column.kind == "number"},
        )
        return f"{cell(block.folded, language)}\n\n{drawn}" if block.folded else drawn
    return ""


def cell(value: Cell, language: Language) -> str:
    """A piece of text, escaped; nothing for None."""
    if isinstance(value, Judged):
        return f"{_MARKS[value.verdict]} {text(verdict_words(value, language))}"
    return "" if value is None else text(spoken(value, language))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """Header, rule and rows of cells that are escaped already. numbers: columns that are set to the right."""
    rule = ["---:" if n in numbers else "---" for n in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))


def text(foreign: str) -> str:
    """Any text, to stand in a cell or a sentence: on one line, and read as it is."""
    one_line = visible(foreign.replace("\r", "").replace("\n", "⏎"))
    marked = _MARKUP.sub(r"\\\g<0>", shortened(one_line, _LONGEST))
    return re.sub("[&<>]", lambda found: _HTML[found[0]], marked)


def code(lines: Sequence[str], language: str = "") -> str:
    """Lines of code in a fence that they cannot end."""
    longest = max((len(ticks) for line in lines for ticks in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join((f"{fence}{language}", *map(visible, lines), fence))
