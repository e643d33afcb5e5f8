"""The picture in the READMEs is what the program shows today, and loads nothing from elsewhere."""

from __future__ import annotations

import html
import re

from tests.docs.pages import ROOT
from tools.picture import PICTURE, drawn


def words(svg: str) -> list[str]:
    """The text of the picture, line by line; how rich draws the rest is its own affair."""
    return [
        html.unescape(text).replace("\xa0", " ") for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    ]


def test_the_picture_shows_what_the_program_shows() -> None:
    assert words(PICTURE.read_text(encoding="utf-8")) == words(drawn()), "`make picture` draws it anew"


def test_the_picture_loads_nothing() -> None:
    svg = re.sub(r"<!--.*?-->", "", PICTURE.read_text(encoding="utf-8"), flags=re.S)
    assert "url(http" not in svg and "@font-face" not in svg and "<script" not in svg


def test_both_readmes_show_it() -> None:
    for name in ("README.md", "README.zh.md"):
        assert f"]({PICTURE.relative_to(ROOT)})" in (ROOT / name).read_text(encoding="utf-8")
