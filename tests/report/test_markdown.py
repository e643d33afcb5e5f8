"""Cells of a table: nothing that is written in one can break it."""

from __future__ import annotations

import html
import re

import pytest

from weightsmith.foreign_text import visible
from weightsmith.report.markdown import cell, code, table, text


def test_line_ends_and_bars_stay_in_their_cell() -> None:
    drawn = table(["a", "b"], [[text("one\r\ntwo"), text("x | y")], [cell(None, "en"), "3"]], {1})
    assert drawn.splitlines() == ["| a | b |", "| --- | ---: |", "| one⏎two | x \\| y |", "|  | 3 |"]
    assert "\r" not in drawn


HOSTILE = [
    "![x](https://example.org/x.png)",
    "[x](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "<!-- <details> -->",
    "https://example.org and www.example.org",
    "**bold** _it_ *it* ~~gone~~ `code` __b__",
    "&lt;b&gt; \\| `|` \\",
    "\x1b[31m\x9b\u202e\u2028\udcff",
    "# title",
    "hidden_size",
]


@pytest.mark.parametrize("foreign", HOSTILE)
def test_foreign_text_is_read_as_it_is(foreign: str) -> None:
    renderer = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    drawn = table(["a", "b"], [[text(foreign), "end"]])
    tags = re.findall(r"<[^>]*>", renderer.render(drawn))
    assert set(tags) <= {
        f"<{end}{tag}>" for tag in ("table", "thead", "tbody", "tr", "th", "td") for end in ("", "/")
    }
    cells = re.findall(r"<td>(.*?)</td>", renderer.render(drawn), re.S)
    assert [html.unescape(one) for one in cells] == [visible(foreign), "end"]
    assert re.search(r"(https?:/|www[.])", drawn) is None, "no bare address, which GitHub makes a link of"


def test_code_cannot_leave_its_fence() -> None:
    assert code(["a\n```\n# b"], "sh") == "````sh\na\\n```\\n# b\n````"


def test_ordinary_text_stays_as_it_is() -> None:
    for ordinary in (
        "hidden_size",
        "R–D: 0.5 nats (3 of 4)",
        "/models/a-b_c.d",
        "北京是中国的首都。",
        "KL(R‖D)",
    ):
        assert text(ordinary) == ordinary
