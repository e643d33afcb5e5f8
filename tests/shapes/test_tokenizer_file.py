"""A tokenizer.json is searched in place, and only for what the format says is an id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from weightsmith.shapes.beside.tokenizer_file import added_token_id, largest_token_id

if TYPE_CHECKING:
    from pathlib import Path


def test_ids_of_the_vocabulary_and_of_added_tokens_are_read(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    added = [{"id": 12, "content": "<s>"}, {"id": 30, "content": 'a "quoted" \u00e9nd'}]
    vocabulary = {"a": 0, 'b"c\\': 41, "\u0661": 7}
    path.write_text(
        json.dumps({"added_tokens": added, "normalizer": {"id": 99}, "model": {"vocab": vocabulary}})
    )
    assert largest_token_id(path) == 41
    assert added_token_id(path, 'a "quoted" \u00e9nd') == 30
    assert added_token_id(path, "a") is None  # in the vocabulary, and not added


@pytest.mark.parametrize("text", ["", "[]", '{"added_tokens": [', '{"model": {"vocab": ["a", 1]}}'])
def test_a_file_without_ids_has_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokenizer.json"
    assert largest_token_id(path) is None and added_token_id(path, "a") is None
    path.write_text(text)
    assert largest_token_id(path) is None and added_token_id(path, "a") is None
