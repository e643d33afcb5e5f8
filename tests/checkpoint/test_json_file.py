"""A side file is one clean JSON object, or one line says why not."""

from __future__ import annotations

import json
import math

import pytest

from weightsmith.checkpoint import read_json_object
from weightsmith.checkpoint.json_file import LARGEST_JSON
from weightsmith.errors import InvalidConfig, MissingInput


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.json"


def test_an_object_is_read_as_written(path):
    value = {
        "hidden_size": 2048,
        "rope": {"type": "longrope", "factor": [1.0, 2.5]},
        "tie": False,
        "名": None,
    }
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2))
    assert read_json_object(path) == value
    assert list(read_json_object(path)) == list(value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": nan}', "no JSON"),
        (b'{"a": +Infinity}', "no JSON"),
        (b'{"a": 1, "a": 2}', "key 'a' twice in one object; keep one of the two"),
        (b'# edited\n{"a": 1}', "a comment (line 1)"),
        (b'{"a": 1, // edited\n "b": 2}', "a comment (line 1)"),
        (b'{"a": 1\n /* edited */, "b": 2}', "a comment (line 2)"),
        (b'{"a": 1} # edited', "a comment (line 1), which JSON has not; take the comment out"),
        (b'{"a": {"b": 1, "b": 2}}', "key 'b' twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a": %s}' % (b"1" * 10_000), "unusable number"),
        (b"[1, 2]", "a list where an object"),
        (b'"text"', "a string where an object"),
        (b"3", "a number where an object"),
        (b"true", "a boolean where an object"),
        (b"null", "a value where an object"),
        (b"{'a': 1}", "no JSON"),
        (b'{"a": 1,}', "no JSON"),
        (b'{"a": 1} x', "no JSON (extra data"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
    ],
)
def test_what_is_no_clean_object_is_one_line(path, raw, words):
    path.write_bytes(raw)
    with pytest.raises(InvalidConfig) as caught:
        read_json_object(path)
    assert words in str(caught.value) and str(caught.value).isprintable()
    assert caught.value.subject == str(path)


def test_the_numbers_that_python_writes_are_read(path):
    """Mamba-2 and the hybrids built after it are published with `Infinity`, as Python's own writer has it."""
    path.write_text(json.dumps({"limit": [0.0, math.inf], "low": -math.inf, "none": math.nan}))
    value = read_json_object(path)
    assert value["limit"] == [0.0, math.inf] and value["low"] == -math.inf and math.isnan(value["none"])


def test_an_enormous_side_file_is_not_read(path):
    with path.open("wb") as file:
        file.truncate(LARGEST_JSON + 1)
    with pytest.raises(InvalidConfig, match="more than"):
        read_json_object(path)


def test_a_missing_side_file_is_missing(path):
    with pytest.raises(MissingInput, match="no such file"):
        read_json_object(path)
    with pytest.raises(MissingInput, match="no regular file"):
        read_json_object(path.parent)
