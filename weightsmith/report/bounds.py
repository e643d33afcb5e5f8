"""How much of a report anybody looks at; the JSON has the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.phrases import say
from weightsmith.report.blocks import Bars, Dots, Grid, Items, Paragraph, Table

if TYPE_CHECKING:
    from weightsmith.report.blocks import Block, Report, Section

# Beyond these nobody looks; a page of 10,000 prompts has 20 MB.
_MOST_ROWS = 2000
MOST_BARS = 40
MOST_COLUMNS = 500


def bounded(report: Report) -> Report:
    """The report with no more in its tables, lists and plots than people look at."""
    return replace(report, sections=tuple(map(_section, report.sections)))


def _section(section: Section) -> Section:
    return replace(section, blocks=tuple(part for block in section.blocks for part in _parts(block)))


def _parts(block: Block) -> tuple[Block, ...]:
    """The block cut, and what was cut off in words."""
    if isinstance(block, Table):
        return (replace(block, rows=block.rows[:_MOST_ROWS]), *_more(len(block.rows)))
    if isinstance(block, Items):
        return (Items(block.items[:_MOST_ROWS]), *_more(len(block.items)))
    if isinstance(block, Dots):
        return (
            replace(
                block, series=tuple(replace(one, values=one.values[:_MOST_ROWS]) for one in block.series)
            ),
        )
    if isinstance(block, Bars):
        return (replace(block, bars=block.bars[:MOST_BARS]),)
    if isinstance(block, Grid):
        rows = tuple((name, values[:MOST_COLUMNS]) for name, values in block.rows[:MOST_BARS])
        return (replace(block, columns=block.columns[:MOST_COLUMNS], rows=rows),)
    return (block,)


def _more(rows: int) -> tuple[Paragraph, ...]:
    left = rows - _MOST_ROWS
    return (Paragraph(say("{count} more rows are in the JSON.", count=f"{left:,}")),) if left > 0 else ()
