"""A report as one HTML file: no script, nothing from elsewhere, for light and dark screens and for paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.language import spoken
from weightsmith.report.blocks import Code, Items, Judged, Paragraph, Table
from weightsmith.report.language import VERDICT, WHOLE_ANSWER, verdict_words
from weightsmith.report.markup import element, escaped
from weightsmith.report.plots import drawn

if TYPE_CHECKING:
    from weightsmith.language import Language
    from weightsmith.report.blocks import Block, Cell, Column, Report, Section

_MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
_TAGS = {"en": "en", "zh": "zh-CN"}
# Characters of a cell that is not folded.
_FOLDED = 220
_STYLE = Path(__file__).with_name("report.css")
# Nothing but what stands in the file itself: whatever escapes our escaping still loads and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(report: Report, language: Language) -> str:
    """The whole page."""
    title = spoken(report.title, language)
    head = "".join(
        (
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", escaped(title)),
            element("style", _STYLE.read_text(encoding="utf-8")),
        )
    )
    sections = "\n".join(_section(section, language) for section in report.sections)
    main = element("main", f"{_header(report, title, language)}\n{sections}")
    page = element("html", f"{element('head', head)}\n{element('body', main)}", lang=_TAGS[language])
    return f"<!DOCTYPE html>\n{page}\n"


def _header(report: Report, title: str, language: Language) -> str:
    verdict = escaped(spoken(VERDICT, language)) + " " + _pill(report.verdict, language)
    lines = (element("p", escaped(spoken(words, language))) for words in report.summary)
    heading = element("h1", escaped(title)) + element("p", verdict, klass="verdict")
    return element("header", heading + "".join(lines), klass=report.verdict.verdict)


def _section(section: Section, language: Language) -> str:
    heading = element(f"h{section.level}", escaped(spoken(section.title, language)))
    return element("section", heading + "".join(_block(block, language) for block in section.blocks))


def _block(block: Block, language: Language) -> str:
    if isinstance(block, Paragraph):
        words = escaped(spoken(block.text, language))
        return element("p", element("strong", words) if block.strong else words)
    if isinstance(block, Items):
        pairs = (
            element("dt", _cell(what, "text", language)) + element("dd", _cell(said, "text", language))
            for what, said in block.items
        )
        return element("dl", "".join(pairs))
    if isinstance(block, Code):
        return element("pre", element("code", "\n".join(map(escaped, block.lines))))
    if isinstance(block, Table):
        return _table(block, language)
    return drawn(block, language)


def _table(table: Table, language: Language) -> str:
    header = element("tr", "".join(_heading(column, language) for column in table.columns))
    rows = (
        "".join(
            element("td", _cell(cell, column.kind, language), klass=column.kind)
            for cell, column in zip(row, table.columns, strict=True)
        )
        for row in table.rows
    )
    body = "\n".join(element("tr", row) for row in rows)
    whole = element("table", element("thead", header) + element("tbody", body))
    scrolled = element("div", whole, klass="table", tabindex="0")
    if table.folded is None:
        return scrolled
    return element("details", element("summary", escaped(spoken(table.folded, language))) + scrolled)


def _heading(column: Column, language: Language) -> str:
    return element("th", escaped(spoken(column.title, language)), scope="col", klass=column.kind)


def _cell(value: Cell, kind: str, language: Language) -> str:
    if isinstance(value, Judged):
        return _pill(value, language)
    words = "" if value is None else spoken(value, language)
    if kind != "long" or len(words) <= _FOLDED:
        return escaped(words)
    begun = element(
        "summary",
        f"{escaped(words[: _FOLDED // 2])}… {element('i', escaped(spoken(WHOLE_ANSWER, language)))}",
    )
    return element("details", begun + element("div", escaped(words)))


def _pill(judged: Judged, language: Language) -> str:
    words = f"{_MARKS[judged.verdict]} {verdict_words(judged, language)}"
    return element("span", escaped(words), klass=f"pill {judged.verdict}")
