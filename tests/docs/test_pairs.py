"""A page and its Chinese twin say the same: as many headings, the same code, figures, names and links."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import CHINESE, DOCS, ENGLISH, ROOT, blocks, headings, links, other_language

if TYPE_CHECKING:
    from pathlib import Path

READMES = (ROOT / "README.md", ROOT / "README.zh.md")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The figures in each row of each table, in the order of their size: languages order words differently."""
    return [sorted(re.findall(r"\d[\d,.]*(?<![,.])", row)) for row in re.findall(r"^\|.*\|$", text, re.M)]


def names(text: str) -> set[str]:
    """Options, fields, files: what stands between backticks."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    spans = re.findall(r"`([^`]+)`", re.sub(r"\]\([^)]*\)", "", prose))
    return {" ".join(span.split()) for span in spans}


def to_one_language(targets: list[str]) -> list[str]:
    return sorted(target.replace(".zh.md", ".md") for target in targets)


@pytest.mark.parametrize("chinese", CHINESE, ids=lambda page: page.name)
def test_both_languages_say_the_same(chinese: Path) -> None:
    one, other = read(other_language(chinese)), read(chinese)
    assert headings(one) == headings(other)
    assert blocks(one) == blocks(other)
    assert rows(one) == rows(other)
    assert names(one) == names(other)
    assert to_one_language(links(one)) == to_one_language(links(other))


@pytest.mark.parametrize("chinese", CHINESE, ids=lambda page: page.name)
def test_a_chinese_page_leads_to_chinese_pages(chinese: Path) -> None:
    switch = {other_language(chinese).name}
    for target in links(read(chinese)):
        page = chinese.parent / target.partition("#")[0]
        if page.suffix == ".md" and page.name not in switch and not page.name.endswith(".zh.md"):
            assert not other_language(page).exists(), f"{target} has a Chinese page"


@pytest.mark.parametrize("page", [*ENGLISH, *CHINESE], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(read(page)):
        path, _, place = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if place:
            assert place in anchors(read(linked)), target


def anchors(text: str) -> set[str]:
    """The names of the headings, as forges and mkdocs make them of English ones."""
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_the_readmes_are_short_and_have_as_many_paragraphs() -> None:
    one, other = map(read, READMES)
    assert max(len(text.splitlines()) for text in (one, other)) <= 150
    assert len(re.findall(r"\n\n(?=\S)", one)) == len(re.findall(r"\n\n(?=\S)", other))


def test_the_first_page_and_the_site_lead_to_every_page() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    first = links(read(ROOT / "docs" / "index.md"))
    for page in ENGLISH:
        if page.parent == DOCS:
            assert re.search(rf"^ +- (.+: )?{re.escape(page.name)}$", site, re.M), page.name
            assert page.name in first or page.name == "index.md"
