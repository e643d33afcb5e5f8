"""Where a conversion may write, and what it says where it may not. One line, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from tests.convert.running import is_complete, large_source, leftovers, run
from weightsmith.checkpoint.hashing import file_hash
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused, MissingInput, TargetRefused


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_source(tmp_path_factory.mktemp("source"), megabytes=24)


def test_an_empty_folder_is_taken(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(source, tmp_path / "out")
    assert is_complete(tmp_path / "out")


def test_a_folder_with_something_in_it_is_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").write_text("data")
    with pytest.raises(TargetRefused, match=r"not empty \(it holds precious\)"):
        convert(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_a_target_filled_meanwhile_is_not_touched(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/precious").write_text("data")

    monkeypatch.setattr(import_module("weightsmith.convert.run"), "verify", fill)
    with pytest.raises(TargetRefused, match="meanwhile"):
        convert(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]
    assert leftovers(tmp_path / "out") == []


def test_targets_that_make_no_sense_are_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for target, fact in (
        (source, "source folder"),
        (source / "out", "source folder"),
        (source.parent, "contains the source"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "absent/out", "does not exist"),
    ):
        with pytest.raises(TargetRefused, match=fact):
            convert(source, target)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(TargetRefused, match="current folder"):
        convert(source, Path())


def test_a_symlinked_target_is_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk/model")
    convert(source, tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert is_complete(tmp_path / "disk/model")


def test_the_umask_is_respected(source: Path, tmp_path: Path) -> None:
    for mask in (0o022, 0o027, 0o002):
        target = tmp_path / f"{mask:o}"
        assert run(source, target, setup=f"import os; os.umask({mask})")[0] == 0
        assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~mask
        files = list(target.iterdir())
        assert files
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path.name


def test_a_file_limit_is_one_line(source: Path, tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))"
    code, err = run(source, tmp_path / "out", setup=limit)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "max-shard-size" in err
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_full_disk_is_found_before_any_work(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("may not mount a small file system here")
    try:
        with pytest.raises(TargetRefused, match="no space"):
            convert(source, disk / "out")
        assert os.listdir(disk) == []  # noqa: PTH208
        with pytest.raises(TargetRefused, match="mount point"):
            convert(source, disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(TargetRefused, match="read-only"):
            convert(source, disk / "out")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Root passes every mode by its capabilities; without them it is stopped like anybody.
NO_PRIVILEGES = """
import ctypes
version, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(version, nothing) == 0
"""


def test_a_folder_without_permission_is_one_line(source: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    code, err = run(source, tmp_path / "locked/out", setup=NO_PRIVILEGES)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "permission denied" in err


def test_a_dry_run_writes_nothing_and_tells_the_same_figures(source: Path, tmp_path: Path) -> None:
    planned = convert(source, tmp_path / "out", dry_run=True, max_shard_size="5MB").document()
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    done = convert(source, tmp_path / "out", max_shard_size="5MB").document()
    assert (planned["verdict"], done["verdict"]) == ("planned", "written")
    own = {"seconds", "verdict", "dry_run"}
    assert {k: v for k, v in planned.items() if k not in own} == {
        k: v for k, v in done.items() if k not in own
    }
    assert sorted(done["files"]) == sorted(os.listdir(tmp_path / "out"))  # noqa: PTH208


@pytest.mark.parametrize("name", ["blake3", "sha256"])
def test_the_manifests_hashes_are_those_of_the_files(source: Path, tmp_path: Path, name: str) -> None:
    convert(source, tmp_path / "out", hash_name=name, max_shard_size="7MB")
    manifest = json.loads((tmp_path / "out/weightsmith.json").read_text())
    assert manifest["hash"] == name
    tool = {"blake3": "b3sum", "sha256": "sha256sum"}[name]
    for side, folder in (("source", source), ("output", tmp_path / "out")):
        assert manifest[side]
        for entry in manifest[side]:
            path = folder / entry["file"]
            assert entry["bytes"] == path.stat().st_size
            assert entry["hash"] == file_hash(path, name)
            if shutil.which(tool):
                assert subprocess.check_output([tool, path], text=True).split()[0] == entry["hash"]
    named = {entry["file"] for entry in manifest["output"]} | {"weightsmith.json"}
    assert named == set(os.listdir(tmp_path / "out"))  # noqa: PTH208


def test_wrong_orders_are_refused_before_anything_is_read(source: Path, tmp_path: Path) -> None:
    for order in (
        {"converter": "plane"},
        {"options": {"group_size": "128"}, "converter": "plain"},
        {"dtype": "int4"},
        {"max_shard_size": "much"},
        {"hash_name": "md5"},
    ):
        with pytest.raises(ConversionRefused):
            convert(source, tmp_path / "out", **order)  # type: ignore[arg-type]
    with pytest.raises(MissingInput):
        convert(tmp_path / "absent", tmp_path / "out")
    assert os.listdir(tmp_path) == []  # noqa: PTH208
