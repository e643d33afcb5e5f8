"""Text and tables at any width: lines fit, nothing is lost, words and numbers stay whole."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from weightsmith.cli.layout import Table, fold, width_of

WORDS = st.text(st.sampled_from("abz19._/=-,;:)] 北…"), max_size=60)
WIDTHS = st.integers(10, 120)


@given(WORDS, WIDTHS, st.integers(0, 4))
def test_folding_loses_nothing_but_spaces(text: str, width: int, indent: int) -> None:
    lines = fold(text, width, indent)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(st.lists(st.text(st.sampled_from("abz19"), min_size=1, max_size=8), max_size=12), WIDTHS)
def test_lines_of_words_are_as_long_as_they_may_be_and_no_longer(words: list[str], width: int) -> None:
    lines = fold(" ".join(words), width)
    assert all(len(line) <= width for line in lines)
    assert [word for line in lines for word in line.split()] == words
    for line, following in itertools.pairwise(lines):
        assert len(line) + 1 + len(following.split()[0]) > width, "the next word had no room"


def test_a_long_name_breaks_where_it_is_joined_and_no_number_breaks() -> None:
    name = "model.layers.12.self_attn.q_proj.weight"
    assert fold(name, 20) == ["model.layers.12.", "self_attn.q_proj.", "weight"]
    assert fold("58,066,816 1e-05 0.23.0rc1", 10) == ["58,066,816", "1e-05", "0.23.0rc1"]
    assert fold("--set head_dim=64", 80) == ["--set head_dim=64"]
    assert fold("验证通过，全部一致", 8) == ["验证通", "过，全部", "一致"], "two columns each"


def _runs(text: str) -> list[str]:
    """Words of ASCII with what opens and closes beside them."""
    return re.findall("[^权重]+", text)


MIXED = st.lists(
    st.sampled_from(["权", "重", "，", "。", "（", "）", "：", "“", "”", "hidden_size", "=", "128", "NPU"]),
    max_size=60,
)


@given(MIXED, WIDTHS)
def test_chinese_breaks_anywhere_but_before_what_closes_and_behind_what_opens(
    parts: list[str], width: int
) -> None:
    text = "".join(parts)
    lines = fold(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    for before, after in itertools.pairwise(lines):
        assert not (re.match("[，。）：”]", after) and re.search("[权重]$", before))
        assert not (before.endswith(("（", "“")) and re.match("[权重a-zA-Z]", after))
    words = re.findall("[a-zA-Z0-9_]+", text)
    if max(map(width_of, _runs(text)), default=0) <= width:
        assert re.findall("[a-zA-Z0-9_]+", "\n".join(lines)) == words


def test_what_goes_on_is_indented_further_than_it_began() -> None:
    assert fold("  a sentence of some words", 14, 2) == ["  a sentence", "    of some", "    words"]


TABLE = Table(
    ("field", "weights", "", "evidence"),
    (
        ("hidden_size", "128", "✗ differs", "model.embed_tokens.weight axis 1 = 128"),
        ("num_hidden_layers", "4", "✗ differs", "model.layers.0.self_attn.q_proj.weight: (indices 0 to 3)"),
    ),
    frozenset({"weights"}),
    note=True,
)


def test_a_note_stands_beside_its_row_where_there_is_room_and_else_under_it() -> None:
    wide = ["  ".join(cells).rstrip() for cells in TABLE.fitted(120)]
    assert wide[0].split() == ["field", "weights", "evidence"]
    assert wide[2].endswith("✗ differs  model.embed_tokens.weight axis 1 = 128")
    narrow = ["  ".join(cells).rstrip() for cells in TABLE.fitted(60)]
    assert narrow[2] == "hidden_size            128  ✗ differs"
    assert narrow[3] == "    model.embed_tokens.weight axis 1 = 128"
    assert narrow[0].split() == ["field", "weights"]


@given(WIDTHS)
def test_a_table_is_no_wider_than_its_pieces_make_it(width: int) -> None:
    lines = ["  ".join(cells).rstrip() for cells in TABLE.fitted(width)]
    assert max(map(width_of, lines)) <= max(width, 39)
    printed = re.sub(r"[- ]", "", "".join(lines))
    for row in TABLE.rows:
        for cell in (row[1], row[2]):
            assert re.sub(r"[- ]", "", cell) in printed


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), WIDTHS)
def test_every_cell_of_any_table_is_printed(rows: list[tuple[str, str]], width: int) -> None:
    lines = list(Table(("a", "b"), tuple(rows)).fitted(width))
    for column in (0, 1):
        printed = "".join(cells[column] for cells in lines[2:]).replace(" ", "")
        assert printed == "".join(row[column] for row in rows).replace(" ", "")
