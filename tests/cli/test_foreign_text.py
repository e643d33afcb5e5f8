"""Text that others wrote is shown whole, on one line, and does nothing."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TYPE_CHECKING

from weightsmith.cli import terminal
from weightsmith.errors import InvalidConfig
from weightsmith.foreign_text import fitted, shortened, visible, visible_json

if TYPE_CHECKING:
    import pytest


def test_every_character_that_acts_or_hides_is_escaped() -> None:
    acting = {"Cc", "Cs", "Zl", "Zp"}
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if unicodedata.category(character) in acting or unicodedata.bidirectional(character) in {
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        }:  # fmt: skip
            assert visible(character).isascii() and visible(character).startswith("\\"), hex(number)
    assert visible("\x1b[2J\r\n\u202e\u200b\ufeff\udcff") == r"\x1b[2J\r\n\u202e\u200b\ufeff\udcff"


def test_text_that_people_write_stays() -> None:
    for text in ("北京，中国", "می\u200cخواهم", "👩\u200d💻", "a\u00a0b\u3000c", "naïve ✓ ✗ → ≤", "C:\\n\\x"):
        assert visible(text) == text


def test_json_says_the_same_in_escapes() -> None:
    value = {"a\x7f\x9b": "\u202e\u2028\udcff\U000e0041", "b": "北京\n"}
    text = visible_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert visible(text).replace("\\n", "") == text.replace("\n", "").replace("\\n", "")
    assert "北京" in text


def test_long_text_keeps_both_ends() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("a" * 100 + "z" * 100, 25) == f"{'a' * 10} ... {'z' * 10}"
    assert len(shortened("x" * 1000, 499)) == 499
    for parts in (["a" * 1000, "b", "c" * 1000], ["a" * 9, "b" * 9, "c" * 9], ["", "", "x" * 1000]):
        cut = fitted(parts, 300)
        assert sum(map(len, cut)) == min(300, sum(map(len, parts)))
    assert fitted(["a" * 1000, "fact", "way out"], 300)[1:] == ["fact", "way out"]


def test_an_error_is_one_line_with_its_fact_and_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.fail(InvalidConfig("p" * 60_000 + "\x1b\n", "holds \u202e", "write it again"))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) <= terminal.LONGEST_LINE + 1
    assert said.endswith(r"pp\x1b\n: holds \u202e; write it again" + "\n")


def test_a_table_shows_each_cell_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table([["a\nb\x9b", None, 3]], ["x", "y", "z"])
    assert capsys.readouterr().out.splitlines()[-1].split() == [r"a\nb\x9b", "3"]
