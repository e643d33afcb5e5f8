"""An output that a user names: refused in time with its path and the way out, or written where it leads."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from weightsmith.errors import TargetRefused
from weightsmith.process.targets import (
    copy_output,
    is_stdout,
    need_other,
    need_writable,
    output,
    write_output,
)


def test_a_file_in_a_folder_that_exists_is_taken_and_nothing_is_left_of_the_try(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("old")
    for name in ("r.md", "there.md"):
        need_writable(tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("there.md", "old")]


def test_a_missing_folder_a_folder_and_one_that_takes_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetRefused, match="its folder does not exist"):
        need_writable(tmp_path / "absent" / "r.md")
    with pytest.raises(TargetRefused, match="is a folder"):
        need_writable(tmp_path)
    for name in ("/proc/x", str(tmp_path / ("a" * 5000)), "a\0b"):
        for refuse in (need_writable, lambda path: write_output(path, b"x")):
            with pytest.raises(TargetRefused, match="cannot be written"):
                refuse(Path(name))


def test_an_output_does_not_take_the_place_of_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "link").symlink_to("model.safetensors")
    for name in ("model.safetensors", "link"):
        with pytest.raises(TargetRefused, match="weights file"):
            need_other(tmp_path / name, [tmp_path / "gone", tmp_path / "model.safetensors"])
    need_other(tmp_path / "new", [tmp_path / "model.safetensors"])


def test_a_link_is_followed_to_its_file(tmp_path: Path) -> None:
    real, link, new = tmp_path / "real", tmp_path / "link", tmp_path / "new"
    real.write_bytes(b"old")
    link.symlink_to("real")
    new.symlink_to("made")
    write_output(link, b"one")
    write_output(new, b"two")
    assert link.is_symlink() and new.is_symlink()
    assert (real.read_bytes(), (tmp_path / "made").read_bytes()) == (b"one", b"two")


def test_a_device_is_written_into_and_stays_one(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(tmp_path / "full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only root makes devices")
    need_writable(tmp_path / "null")
    write_output(tmp_path / "null", b"x")
    with pytest.raises(TargetRefused, match="no space"):
        write_output(tmp_path / "full", b"x")
    assert all(stat.S_ISCHR(path.lstat().st_mode) for path in tmp_path.iterdir())


def test_a_pipe_is_written_into_if_somebody_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(TargetRefused, match="nobody reads"):
        write_output(path, b"x")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    for _ in range(1000):
        try:
            write_output(path, b"x" * 200_000)  # more than a pipe holds: writing waits for the reader
            break
        except TargetRefused:
            reader.join(0.01)
    reader.join(10)
    assert got == [b"x" * 200_000] and stat.S_ISFIFO(path.lstat().st_mode)


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), output(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_the_bytes_of_a_file_of_ours_are_copied(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"x" * 3_000_000)
    copy_output(tmp_path / "made", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"x" * 3_000_000


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_is_written_into_whatever_it_is(tmp_path: Path, name: str) -> None:
    assert is_stdout(Path(name))
    code = "import sys; from pathlib import Path; from weightsmith.process.targets import write_output\n"
    code += "print('before'); write_output(Path(sys.argv[1]), b'report\\n'); print('after')"
    command = [sys.executable, "-c", code, name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=tmp_path)
    assert done.stdout == b"before\nreport\nafter\n"
    with (tmp_path / "file").open("wb") as file:
        subprocess.run(command, check=True, stdout=file, cwd=tmp_path)
    assert (tmp_path / "file").read_bytes() == b"before\nreport\nafter\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
