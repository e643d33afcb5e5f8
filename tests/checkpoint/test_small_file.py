"""A small file is opened once, as what it is now: no pipe is waited for, no device drained, no link followed out."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from weightsmith.checkpoint import file_bytes, small_file
from weightsmith.checkpoint.config_file import config_path
from weightsmith.checkpoint.hashing import file_hash
from weightsmith.checkpoint.small_file import is_there, open_named, open_own, read_small
from weightsmith.checkpoint.table import Checkpoint
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, InvalidConfig, MissingInput


def no_files(folder: Path) -> list[Path]:
    """One of each kind of thing that is no file."""
    fifo, held, nowhere, loop = (folder / name for name in ("fifo", "folder", "nowhere", "loop"))
    os.mkfifo(fifo)
    held.mkdir()
    nowhere.symlink_to("absent")
    loop.symlink_to("loop")
    return [fifo, held, nowhere, loop, Path("/dev/zero"), Path("/dev/null")]


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    for path in no_files(tmp_path):
        for read in (open_named, open_own, file_hash, lambda path: read_small(path, 100)):
            with pytest.raises(MissingInput) as caught:
                read(path)
            assert caught.value.subject == str(path)


def test_nothing_of_a_file_that_is_too_large_is_read(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidConfig, match="1,099,511,627,776 bytes, more than 100"):
        read_small(tmp_path / "holes", 100)
    with pytest.raises(CorruptCheckpoint, match="holes that were never written"):
        file_hash(tmp_path / "holes")


def test_a_large_file_with_data_in_it_is_hashed_holes_and_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_bytes, "_MAY_BE_HOLES", 1 << 20)
    path = tmp_path / "weights"
    with path.open("wb") as file:
        file.write(b"x" * (1 << 17))
        file.truncate(4 << 20)
    assert len(file_hash(path)) == 64


def test_a_link_leads_within_its_folder_or_into_the_blobs_of_its_repository(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--name"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    (snapshot / "text_encoder").mkdir(parents=True)
    (blobs / "abc").write_text("blob")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "text_encoder" / "config.json").symlink_to("../../../blobs/abc")
    (snapshot / "LICENSE").symlink_to("config.json")
    for path in (snapshot / "config.json", snapshot / "text_encoder" / "config.json", snapshot / "LICENSE"):
        assert read_small(path, 100) == b"blob"


@pytest.mark.parametrize("target", ["{out}/secret", "../secret", "../../elsewhere/secret", "within/secret"])
def test_a_link_that_leads_out_is_refused_with_the_way_out(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "models--a--b" / "snapshots"
    (folder / "within").mkdir(parents=True)
    for place in (tmp_path, folder.parent, tmp_path / "elsewhere"):
        place.mkdir(exist_ok=True)
        (place / "secret").write_text("key")
    (folder / "within" / "secret").symlink_to(tmp_path / "secret")
    (folder / "config.json").symlink_to(target.format(out=tmp_path))
    with pytest.raises(HostileCheckpoint, match=r"leads out of its folder.*put the file itself"):
        open_own(folder / "config.json")
    assert read_small(folder / "config.json", 100, named=True) == b"key"


def test_what_is_judged_is_what_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes a link between two looks at it, and back again."""
    path, secret = tmp_path / "model" / "config.json", tmp_path / "secret"
    path.parent.mkdir()
    secret.write_text("key")
    path.write_text("{}")
    opened = os.open

    def swapped(name: object, *rest: int, **more: int) -> int:
        path.unlink()
        path.symlink_to(secret)
        try:
            return opened(name, *rest, **more)  # type: ignore[arg-type]
        finally:
            path.unlink()
            path.write_text("{}")

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(HostileCheckpoint):
        open_own(path)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_what_the_system_refuses_is_told_of_the_file_it_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MissingInput) as caught:
        read_small(tmp_path / "config.json", 100)
    assert caught.value.subject == str(tmp_path / "config.json")


def test_a_config_that_the_disk_does_not_show_is_no_config_that_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    checkpoint = Checkpoint(tmp_path, tmp_path, "safetensors", {}, {}, None, {}, ())
    assert config_path(checkpoint) is None
    monkeypatch.setattr(small_file.os, "lstat", broken)
    assert is_there(tmp_path / "config.json")
    assert config_path(checkpoint) == tmp_path / "config.json"


def test_a_descriptor_is_not_left_open_by_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").symlink_to(tmp_path / "secret")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(8):
        with pytest.raises(HostileCheckpoint):
            open_own(tmp_path / "model" / "a")
        with pytest.raises(InvalidConfig):
            read_small(tmp_path / "secret", 1)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert stat.S_ISLNK((tmp_path / "model" / "a").lstat().st_mode)
