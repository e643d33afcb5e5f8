"""A side file is one clean JSON object, or one line says why not."""

from __future__ import annotations

import json
import math
import time

import pytest

from weightsmith.checkpoint import json_file, read_json_object
from weightsmith.checkpoint.json_file import CONFIG_FILE, SIDE_FILE, JsonFaultError, parse_object
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
        (b'{"a": %s}' % (b"1" * 10_000), "an integer of 10,000 digits"),
        (b'{"a": [-%s]}' % (b"1" * 129), "an integer of 129 digits"),
        (rb'{"a": "\ud800"}', r"half a surrogate pair, \ud800, which is no character"),
        (rb'{"\uDFFF": 1}', r"half a surrogate pair, \uDFFF"),
        (rb'{"a": "\ud83d", "b": "\ud83d\ude00"}', r"half a surrogate pair, \ud83d"),
        (rb'{"a": "\ude00\ud83d"}', r"half a surrogate pair, \ude00"),
        (rb'{"a": "\ud83d\\\ude00"}', r"half a surrogate pair, \ud83d"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b"[1, 2]", "a list where an object"),
        (b'"text"', "a string where an object"),
        (b"3", "a number where an object"),
        (b"true", "a boolean where an object"),
        (b"null", "a value where an object"),
        (b"{'a': 1}", "no JSON"),
        (b'{"a": 1,}', "no JSON"),
        (b'{"a": 1} x', "no JSON (extra data"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html>\n<html>gated</html>", "a web page, not the file itself"),
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
        file.truncate(SIDE_FILE.bytes + 1)
    with pytest.raises(InvalidConfig, match="more than"):
        read_json_object(path)


def test_a_missing_side_file_is_missing(path):
    with pytest.raises(MissingInput, match="no such file"):
        read_json_object(path)
    with pytest.raises(MissingInput, match="no regular file"):
        read_json_object(path.parent)


def test_pairs_and_what_only_looks_like_halves_are_read(path):
    path.write_bytes(rb'{"a": "\ud83d\ude00", "b": "\\ud800", "c": "\\\ud83d\ude00"}')
    assert read_json_object(path) == {"a": "\U0001f600", "b": "\\ud800", "c": "\\\U0001f600"}


def test_digits_in_text_are_no_number(path):
    """As long as an integer may be; and `model_max_length`, which transformers writes with 31 digits."""
    path.write_text(json.dumps({"hash": "1" * 500, "longest": int(1e30), "most": 10**127}))
    assert read_json_object(path) == {"hash": "1" * 500, "longest": int(1e30), "most": 10**127}


def nested(levels: int) -> dict:
    value: object = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return {"a": value}


def test_a_config_nests_as_deep_as_its_limits_say(path):
    assert CONFIG_FILE.depth is not None
    path.write_text(json.dumps(nested(CONFIG_FILE.depth)))
    assert read_json_object(path, CONFIG_FILE) == nested(CONFIG_FILE.depth)
    path.write_text(json.dumps(nested(CONFIG_FILE.depth + 1)))
    with pytest.raises(InvalidConfig, match=f"nested too deeply .more than {CONFIG_FILE.depth} levels"):
        read_json_object(path, CONFIG_FILE)


def test_a_config_holds_as_many_values_as_its_limits_say(path):
    path.write_text(json.dumps({"id2label": {str(n): f"LABEL_{n}" for n in range(81_313)}}))
    assert len(read_json_object(path, CONFIG_FILE)["id2label"]) == 81_313
    path.write_text(json.dumps({"layer_types": [0] * CONFIG_FILE.values}))
    with pytest.raises(InvalidConfig, match="more than 200,000 values"):
        read_json_object(path, CONFIG_FILE)


@pytest.mark.parametrize(
    ("place", "said"), [(None, "settings, more"), ("text_config", "settings in 'text_config', more")]
)
def test_a_config_has_as_many_settings_as_its_limits_say(path, place, said):
    """No class has more than a few hundred; labels are no settings."""
    assert CONFIG_FILE.settings is not None
    settings = {f"k{n}": n for n in range(CONFIG_FILE.settings + 1)}
    path.write_text(json.dumps({place: settings} if place else settings))
    with pytest.raises(InvalidConfig, match=said):
        read_json_object(path, CONFIG_FILE)


@pytest.mark.parametrize(
    ("text", "refused"), [("x" * 900, False), ("x" * 900 + "\U0001f600", True), ("\U0001f600" * 200, False)]
)
def test_text_that_one_character_makes_four_times_as_wide_is_refused(monkeypatch, text, refused):
    """As much plain text is read, and so is text of many such characters, of which there are fewer."""
    monkeypatch.setattr(json_file, "LARGEST_WIDE_TEXT", 700)
    raw = json.dumps({"a": text}, ensure_ascii=False).encode()
    if refused:
        with pytest.raises(JsonFaultError, match="characters, more than 700"):
            parse_object(raw)
    else:
        assert parse_object(raw) == {"a": text}


def test_floods_of_backslashes_cost_no_time(path):
    path.write_bytes(b'{"a": "' + b"\\" * (8 << 20) + b'"}')
    start = time.process_time()
    assert len(str(read_json_object(path)["a"])) == 4 << 20
    assert time.process_time() - start < 2
