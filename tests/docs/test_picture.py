"""The pictures in READMEs and guides are what the program shows today, and load nothing from elsewhere."""

from __future__ import annotations

import html
import re

import pytest

from tests.docs.pages import ROOT
from tools.picture import IMAGES, STORIES, drawn


def words(svg: str) -> list[str]:
    """The text of the picture, line by line; how rich draws the rest is its own affair."""
    return [
        html.unescape(text).replace("\xa0", " ") for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    ]


@pytest.mark.parametrize("name", STORIES)
def test_a_picture_shows_what_the_program_shows(name: str) -> None:
    kept = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert words(kept) == words(drawn(name)), "`make picture` draws it anew"


@pytest.mark.parametrize("name", STORIES)
def test_a_picture_loads_nothing(name: str) -> None:
    svg = re.sub(r"<!--.*?-->", "", (IMAGES / f"{name}.svg").read_text(encoding="utf-8"), flags=re.S)
    assert "url(http" not in svg and "@font-face" not in svg and "<script" not in svg


@pytest.mark.parametrize(
    ("name", "pages"),
    [("run", ("README", "")), ("convert", ("docs/convert", "docs/")), ("check", ("docs/check", "docs/"))],
)
def test_both_languages_show_it(name: str, pages: tuple[str, str]) -> None:
    page, folder = pages
    shown = (IMAGES / f"{name}.svg").relative_to(ROOT / folder)
    for ending in (".md", ".zh.md"):
        assert f"]({shown})" in (ROOT / f"{page}{ending}").read_text(encoding="utf-8")
