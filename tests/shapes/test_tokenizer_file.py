"""A tokenizer.json is searched as text, and only for what the format says is an id."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from weightsmith.shapes.beside.tokenizer_file import added_token_id, largest_token_id, read_tokenizer

if TYPE_CHECKING:
    from pathlib import Path


def test_ids_of_the_vocabulary_and_of_added_tokens_are_read() -> None:
    added = [{"id": 12, "content": "<s>"}, {"id": 30, "content": 'a "quoted" \u00e9nd'}]
    vocabulary = {"a": 0, 'b"c\\': 41, "\u0661": 7}
    document = {"added_tokens": added, "normalizer": {"id": 99}, "model": {"vocab": vocabulary}}
    text = json.dumps(document).encode()
    assert largest_token_id(text) == 41
    assert added_token_id(text, 'a "quoted" \u00e9nd') == 30
    assert added_token_id(text, "a") is None  # in the vocabulary, and not added


@pytest.mark.parametrize("text", [b"", b"[]", b'{"added_tokens": [', b'{"model": {"vocab": ["a", 1]}}'])
def test_a_file_without_ids_has_none(text: bytes) -> None:
    assert largest_token_id(text) is None and added_token_id(text, "a") is None


def test_a_number_of_more_digits_than_any_vocabulary_needs_is_no_id() -> None:
    text = b'{"vocab": {"a": 7, "b": %s}, "added_tokens": [{"id": %s, "content": "c"}]}' % (
        (b"9" * 5000,) * 2
    )
    assert largest_token_id(text) == 7 and added_token_id(text, "c") is None


def test_a_file_that_is_absent_holds_nothing_and_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    assert read_tokenizer(path) == (b"", ())
    os.mkfifo(path)
    text, (problem,) = read_tokenizer(path)
    assert text == b"" and "tokenizer.json is no regular file" in problem.message
