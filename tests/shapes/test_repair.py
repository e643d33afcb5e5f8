"""A repaired config differs from the original in the contradicted values and nowhere else."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightsmith.errors import HostileCheckpoint, TargetRefused
from weightsmith.shapes.repair import corrected_text, replace_config

if TYPE_CHECKING:
    from pathlib import Path

ODD = '{\n\t"hidden_size" :  2560,"nested": {"a": [1, {"hidden_size": 7}], "b":"é\\u00e9"},\n  "eps": 1e-05\n}\n'


def test_only_the_named_value_changes() -> None:
    assert corrected_text(ODD, [("hidden_size", 2048)]) == ODD.replace("2560", "2048")
    assert corrected_text(ODD, [("nested.b", "x")]) == ODD.replace('"é\\u00e9"', '"x"')


def test_a_missing_field_is_added_to_its_object() -> None:
    text = corrected_text(ODD, [("nested.c", 3), ("head_dim", 64), ("vision.depth", 2)])
    data = json.loads(text)
    assert (data["nested"]["c"], data["head_dim"], data["vision"]) == (3, 64, {"depth": 2})
    assert corrected_text("{}", [("a", 1)]) == '{"a": 1}'


def test_an_object_takes_the_place_of_null() -> None:
    text = corrected_text('{"vision": null, "a": 1}', [("vision.depth", 2), ("vision.width", 8)])
    assert text.count("vision") == 1
    assert json.loads(text) == {"vision": {"depth": 2, "width": 8}, "a": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=5), json_values, max_size=6),
    st.text(min_size=1, max_size=5).filter(lambda name: "." not in name),
    json_values,
    st.sampled_from([None, 1, 4, "\t"]),
)
def test_the_result_is_the_original_with_one_key_set(
    data: dict[str, Any], name: str, value: Any, indent: Any
) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    corrected = corrected_text(text, [(name, value)])
    assert json.loads(corrected) == {**data, name: value}
    assert list(json.loads(corrected)) == list({**data, name: value}), "keys keep their order"


def test_the_old_config_is_kept_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("one")
    assert replace_config(path, "two") == tmp_path / "config.json.bak"
    assert replace_config(path, "three") == tmp_path / "config.json.bak.1"
    assert (path.read_text(), (tmp_path / "config.json.bak").read_text()) == ("three", "one")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json",
        "config.json.bak",
        "config.json.bak.1",
    ]


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TargetRefused, match="--output"):
        replace_config(tmp_path / "absent" / "config.json", "x")


def test_the_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("one")
    before = stat.S_IMODE(path.stat().st_mode)
    replace_config(path, "two")
    assert stat.S_IMODE(path.stat().st_mode) == before


def test_links_that_wait_in_a_strangers_folder_send_no_write_elsewhere(tmp_path: Path) -> None:
    """The name of the unfinished file once held the process id, and whoever guessed it could put a link there."""
    victim, folder = tmp_path / "victim", tmp_path / "hostile"
    victim.write_text("precious")
    folder.mkdir()
    path = folder / "config.json"
    path.write_text("one")
    for name in (f".config.json.{os.getpid()}.tmp", "config.json.part", "config.json.bak"):
        (folder / name).symlink_to(victim)
    assert replace_config(path, "two") == folder / "config.json.bak.1"
    assert victim.read_text() == "precious"
    assert (path.read_text(), (folder / "config.json.bak.1").read_text()) == ("two", "one")


def test_a_config_that_is_a_link_out_is_neither_replaced_nor_kept_as_a_copy(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "hostile").mkdir()
    (tmp_path / "hostile" / "config.json").symlink_to(tmp_path / "victim")
    with pytest.raises(HostileCheckpoint, match="leads out"):
        replace_config(tmp_path / "hostile" / "config.json", "two")
    assert [path.name for path in (tmp_path / "hostile").iterdir()] == ["config.json"]


def test_a_backup_that_a_dangling_link_takes_the_place_of_is_kept_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("one")
    (tmp_path / "config.json.bak").symlink_to(tmp_path / "elsewhere")
    assert replace_config(path, "two") == tmp_path / "config.json.bak.1"
    assert not (tmp_path / "elsewhere").exists()
