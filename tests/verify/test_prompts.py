"""Prompts: the built-in ones are enough, and a user's file is read or refused with the line that is wrong."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.verify.inputs.prompts import BUILT_IN, Prompt, load_prompts

if TYPE_CHECKING:
    from pathlib import Path


def test_there_are_at_least_32_built_in_prompts_in_two_languages_some_longer_than_a_block() -> None:
    texts = [prompt.text for prompt in BUILT_IN]
    assert len(texts) == len(set(texts)) >= 32
    chinese = [text for text in texts if any("\u4e00" <= char <= "\u9fff" for char in text)]
    assert len(chinese) >= 8
    assert sum(len(text.encode()) > 256 for text in texts) >= 2
    assert sum(prompt.expect is not None for prompt in BUILT_IN) >= 20


def test_a_file_of_json_lines_is_read_with_blank_lines_bom_and_odd_separators(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    lines = '\ufeff{"prompt": "1+1=", "expect": "2"}\r\n\n{"prompt": "a\u2028b"}\n'
    file.write_text(lines, encoding="utf-8", newline="")
    assert load_prompts(file) == (Prompt("1+1=", "2"), Prompt("a\u2028b"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "x"}\n{"prompt": ', "line 2 is no JSON"),
        ('["x"]', "line 1 holds a list where an object is expected"),
        ('{"prompt": 3}', 'line 1 has no text under "prompt"'),
        ('{"prompt": ""}', 'line 1 has no text under "prompt"'),
        ('{"prompt": "x", "expect": ["y"]}', 'line 1 has no text under "expect"'),
        ('{"prompt": "x", "expected": "y"}', "line 1 has unknown keys 'expected'"),
        ("\n\n", "holds no prompt"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfig, match=said):
        load_prompts(file)


def test_an_absent_file_and_one_in_another_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        load_prompts(tmp_path / "absent.jsonl")
    (tmp_path / "gbk.jsonl").write_bytes('{"prompt": "你好"}'.encode("gbk"))
    with pytest.raises(InvalidConfig, match="not UTF-8"):
        load_prompts(tmp_path / "gbk.jsonl")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"prompt": ' + b"[" * 100_000, "line 1 is nested too deeply"),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "line 1 holds an"),
        (b'{"prompt": "\\ud800"}', "line 1 holds half a surrogate pair"),
        (b'{"prompt": "x", "\\u001b[31m": 1}', r"unknown keys '\\x1b\[31m'"),
        (b'{"prompt": "x"}\n' * 10_001, "holds 10,001 prompts, more than 10,000"),
        (b"\n" * ((16 << 20) + 1), "more than 16,777,216"),
    ],
)
def test_what_a_stranger_wrote_is_one_line(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "prompts").write_bytes(raw)
    with pytest.raises(InvalidConfig, match=said) as caught:
        load_prompts(tmp_path / "prompts")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "prompts")
    with pytest.raises(MissingInput, match="no regular file"):
        load_prompts(tmp_path / "prompts")
