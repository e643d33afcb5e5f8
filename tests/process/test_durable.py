"""A file appears whole or not at all, where it was asked for and nowhere else."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from weightsmith.process import durable

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def place(source: Path, path: Path) -> None:
    with source.open("rb") as file:
        durable.place_file(file.fileno(), path)


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    durable.replace_file(path, b"one")
    durable.replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == {"config.json"}


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"one")
    with pytest.raises(KeyboardInterrupt), durable.replacement(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == {"config.json"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_while_a_file_is_written_leaves_no_part_of_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), durable.replacement(path) as file:
        file.write(b"new")
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])


def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, other = tmp_path / "report.md", tmp_path / "other"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        durable.replace_file(path, b"two")
    with pytest.raises(OSError, match="No space"):
        place(other, path)
    with pytest.raises(OSError, match="No space"):
        durable.create_file(tmp_path / "copy", b"two")
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == {"report.md", "other"}


def test_a_folder_on_a_disk_that_cannot_sync_folders_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_alone)
    durable.replace_file(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def fsync_noted(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def rename_noted(old: str, new: str, **folders: int) -> None:
        steps.append("rename")
        rename(old, new, **folders)

    monkeypatch.setattr(os, "fsync", fsync_noted)
    monkeypatch.setattr(os, "rename", rename_noted)
    durable.replace_file(tmp_path / "a", b"x")
    assert steps == ["file", "rename", "folder"]
    steps.clear()
    place(tmp_path / "a", tmp_path / "b")
    assert steps == ["file", "rename", "folder"]
    steps.clear()
    durable.create_file(tmp_path / "c", b"x")
    assert steps == ["file"]  # the writer of a whole folder brings its names to the disk once, at the end


def test_a_link_that_waits_under_the_partial_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where somebody could foresee the name: the file is made anew or not at all."""
    monkeypatch.setattr(durable.secrets, "token_hex", lambda nbytes: "0" * 2 * nbytes)
    victim, folder = tmp_path / "victim", tmp_path / "hostile"
    victim.write_bytes(b"precious")
    folder.mkdir()
    (folder / f".config.json.{'0' * 16}{durable.PARTIAL}").symlink_to(victim)
    with pytest.raises(FileExistsError):
        durable.replace_file(folder / "config.json", b"x")
    assert victim.read_bytes() == b"precious"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"old")
    link.symlink_to(victim)
    durable.replace_file(link, b"new")
    assert not link.is_symlink()
    assert (link.read_bytes(), victim.read_bytes()) == (b"new", b"old")


def test_a_folder_that_is_exchanged_meanwhile_does_not_get_the_file(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    with durable.replacement(folder / "a") as file:
        file.write(b"x")
        folder.rename(tmp_path / "moved")
        folder.symlink_to(elsewhere)
    assert names(elsewhere) == set()
    assert names(tmp_path / "moved") == {"a"}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_is_what_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    code = "import os, sys; from pathlib import Path; from weightsmith.process.durable import *\n"
    code += f"os.umask({umask})\nreplace_file(Path(sys.argv[1], 'a'), b''); create_file(Path(sys.argv[1], 'b'), b'')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"} == {0o666 & ~umask}


def test_a_new_file_takes_no_name_that_is_there_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    (tmp_path / "file").write_bytes(b"old")
    for name in ("link", "file"):
        with pytest.raises(FileExistsError):
            durable.create_file(tmp_path / name, b"x")
    assert names(tmp_path) == {"link", "file"}
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_placed_file_is_the_same_file_and_placing_it_again_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    place(tmp_path / "a", tmp_path / "b")
    place(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")
    assert names(tmp_path) == {"a", "b"}


def test_a_file_of_another_file_system_is_placed_by_copying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_bytes(b"x")
    place(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x"
    assert not (tmp_path / "a").samefile(tmp_path / "b")
    assert names(tmp_path) == {"a", "b"}


def test_appending_needs_the_file_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"one\n")
    durable.append(tmp_path / "journal", b"two\n")
    assert (tmp_path / "journal").read_bytes() == b"one\ntwo\n"
    with pytest.raises(FileNotFoundError):
        durable.append(tmp_path / "absent", b"")
    (tmp_path / "link").symlink_to(tmp_path / "journal")
    with pytest.raises(OSError, match="symbolic links"):
        durable.append(tmp_path / "link", b"three\n")


def test_a_folder_takes_the_place_of_an_empty_one_and_of_no_other(tmp_path: Path) -> None:
    for name in ("made", "full", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(OSError, match="not empty"):
        durable.move_folder(tmp_path / "made", tmp_path / "full")
    (tmp_path / "made" / "file").touch()
    durable.move_folder(tmp_path / "made", tmp_path / "empty")
    assert names(tmp_path) == {"full", "empty"}
    assert names(tmp_path / "empty") == {"file"}


def test_a_name_of_any_length_that_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)  # 254 bytes, of 255
    durable.replace_file(path, b"x")
    assert path.read_bytes() == b"x"
