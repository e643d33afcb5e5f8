"""A machine can be kept as a file, pasted, read back and compared; nothing of it is a secret."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.machine import diagnose, dump

from .machines import ATLAS, with_packages, with_variables

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(dump.text(ATLAS))
    assert dump.read(tmp_path / "a.json") == ATLAS
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["conclusion"] == diagnose(ATLAS).conclusion and document["checks"]


def test_names_of_users_and_credentials_are_left_out() -> None:
    machine = with_variables(ATLAS, PYTHONPATH="/home/alice/lib", VLLM_X="http://bob:geheim@host/x")
    text = dump.text(machine).decode()
    assert "alice" not in text and "geheim" not in text
    assert "/home/USER/lib" in text and "http://host/x" in text


def test_two_machines_differ_in_their_facts(tmp_path: Path) -> None:
    other = replace(with_packages(ATLAS, torch="2.9.0", triton="3.5.0"), build="A3")
    for name, machine in (("a", ATLAS), ("b", other)):
        (tmp_path / name).write_bytes(dump.text(machine))
    found = dump.compare(tmp_path / "a", tmp_path / "b")
    assert set(found.differences) == {
        ("build", "A2", "A3"),
        ("python.packages.torch", "2.10.0+cpu", "2.9.0"),
        ("python.packages.triton", "", "3.5.0"),
    }
    assert found.conclusions[0].startswith("Ready") and found.conclusions[1].startswith("Not ready")
    assert dump.compare(tmp_path / "a", tmp_path / "a").differences == ()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"facts": {"nodes": 3}}', "[" * 100_000, '{"facts": null}']
)
def test_what_is_no_dump_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(InvalidConfig):
        dump.read(tmp_path / "a")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        dump.read(tmp_path / "absent")
    with pytest.raises(InvalidConfig):
        dump.read(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidConfig):
        dump.read(tmp_path / "binary")
