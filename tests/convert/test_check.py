"""An output tells by its hashes whether it is still what was written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.values.making import latent_llama, save
from weightsmith.checkpoint.table import Checkpoint
from weightsmith.cli import commands
from weightsmith.convert import convert
from weightsmith.convert.finish.hash_check import check_hashes
from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.values.inspection import Inspection


@pytest.fixture(params=["blake3", "sha256"])
def output(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    source = save(tmp_path / "source", latent_llama())
    (source / "README.md").write_text("A card.\n")
    convert(source, tmp_path / "out", max_shard_size="200kB", hash_name=request.param)
    return tmp_path / "out"


def test_a_fresh_output_is_the_same(output: Path) -> None:
    found = check_hashes(output)
    assert {verdict for _, verdict in found} == {"same"}
    assert {file for file, _ in found} == {path.name for path in output.iterdir()} - {"weightsmith.json"}


def test_every_kind_of_change_is_seen_and_named(output: Path) -> None:
    shard = next(iter(sorted(output.glob("*.safetensors"))))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    (output / "config.json").write_text("{}")
    (output / "README.md").unlink()
    (output / "evil.py").write_text("")
    found = dict(check_hashes(output))
    assert (found[shard.name], found["config.json"]) == ("changed", "other size")
    assert (found["README.md"], found["evil.py"]) == ("missing", "not listed")
    assert sum(verdict == "same" for verdict in found.values()) == len(found) - 4


def test_without_a_manifest_there_is_nothing_to_go_by(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"weightsmith\.json"):
        check_hashes(tmp_path)


@pytest.mark.parametrize("file", ["../secret", "/etc/passwd", "a/b", "..", ""])
def test_a_manifest_cannot_point_out_of_its_folder(tmp_path: Path, file: str) -> None:
    entry = {"file": file, "bytes": 1, "hash": "00"}
    (tmp_path / "weightsmith.json").write_text(json.dumps({"hash": "blake3", "output": [entry]}))
    with pytest.raises(InvalidConfig, match="no file of this folder"):
        check_hashes(tmp_path)


@pytest.mark.parametrize(
    "names", [["x", "x"], ["a" * 256], ["\u00e9" * 128], ["\\x2f"], ["a\\b"], ["\\xD5"], ["\0"], ["."]]
)
def test_names_that_no_folder_holds_once_are_refused(tmp_path: Path, names: list[str]) -> None:
    rows = [{"file": name, "bytes": 1, "hash": "00"} for name in names]
    (tmp_path / "weightsmith.json").write_text(json.dumps({"hash": "blake3", "output": rows}))
    with pytest.raises(InvalidConfig, match="lists") as caught:
        check_hashes(tmp_path)
    assert len(str(caught.value)) < 400


def test_what_is_no_file_any_more_is_missing(output: Path) -> None:
    (output / "README.md").unlink()
    os.mkfifo(output / "README.md")
    assert dict(check_hashes(output))["README.md"] == "missing"


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("more.safetensors", False),
        ("pytorch_model.bin", False),
        ("model.safetensors.index.json", False),
        ("modeling_evil.py", False),
        ("generation_config.json", False),
        ("tokenizer.json", False),
        ("notes.txt", True),
        ("LICENSE", True),
        ("picture.png", True),
    ],
)
def test_a_file_that_came_later_matters_if_a_loader_may_read_it(name: str, good: bool) -> None:
    table = Checkpoint(Path(), Path(), "safetensors", {}, {}, None, {}, ())
    assert Inspection(table, None, None, hashes=((name, "not listed"),)).as_written is good


@pytest.mark.parametrize("text", ['{"hash": "md5", "output": []}', '{"hash": "blake3", "output": [1]}', "[]"])
def test_a_broken_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "weightsmith.json").write_text(text)
    with pytest.raises(InvalidConfig):
        check_hashes(tmp_path)


def test_inspect_tells_on_the_command_line(output: Path) -> None:
    """Exit code 0 as long as all is as written, 1 as soon as one byte is not; a file that came later is only named."""
    runner = CliRunner()
    (output / "notes.txt").write_text("mine")
    fresh = runner.invoke(commands, ["inspect", str(output), "--hashes", "--json"], standalone_mode=False)
    told = {entry["file"]: entry["verdict"] for entry in json.loads(fresh.stdout)["hashes"]}
    assert (
        fresh.return_value == 0 and told.pop("notes.txt") == "not listed" and set(told.values()) == {"same"}
    )
    with (output / "config.json").open("a") as file:
        file.write("\n")
    changed = runner.invoke(commands, ["inspect", str(output), "--hashes"], standalone_mode=False)
    assert changed.return_value == 1 and "config.json: other size" in changed.stdout
