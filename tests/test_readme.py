"""The two READMEs say the same: the same commands, screens, tables and links, under as many headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "what, pattern",
    [
        ("what is typed and shown", r"^    .*$"),
        ("rows of tables", r"^\| (`[^|]+`) \|"),
        ("links", r"\]\((?!README)([^)]+)\)"),
        ("options and files named", r"`(--[a-z-]+|[a-z_/]+\.(?:json|md))`"),
    ],
)
def test_both_name_the_same_things(what: str, pattern: str) -> None:
    english, chinese = (re.findall(pattern, text, re.M) for text in (ENGLISH, CHINESE))
    assert sorted(english) == sorted(chinese), what


def test_both_have_as_many_headings_and_paragraphs_and_are_short() -> None:
    for mark in (r"^## ", r"\n\n(?=\S)"):
        assert len(re.findall(mark, ENGLISH, re.M)) == len(re.findall(mark, CHINESE, re.M))
    assert max(len(text.splitlines()) for text in (ENGLISH, CHINESE)) <= 150


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_every_link_leads_somewhere(text: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / target.partition("#")[0]).exists(), target
