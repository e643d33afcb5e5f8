"""A temporary folder is gone with its block; what killed processes left goes with the next one, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from weightsmith.process import scratch
from weightsmith.process.scratch import scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

# Makes one, puts a file and a folder in it, says where it is, and waits.
_WORKER = """
import sys
from weightsmith.process.scratch import scratch_folder
with scratch_folder("weightsmith-test-") as folder:
    (folder / "child").mkdir()
    (folder / "child" / "logprobs").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _worker(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, temporary / process.stdout.readline().strip()


def _abandoned(temporary: Path) -> Path:
    """The folder of a process that was killed."""
    process, folder = _worker(temporary)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (folder / "child" / "logprobs").exists()
    return folder


def test_what_a_killed_process_left_goes_and_what_a_living_one_needs_stays(temporary: Path) -> None:
    living, needed = _worker(temporary)
    left = _abandoned(temporary)
    with scratch_folder() as own, scratch_folder() as second:
        assert not left.exists()
        assert sorted(temporary.iterdir()) == sorted([needed, own, second])
        assert (needed / "child" / "logprobs").exists()
    living.communicate("")
    assert list(temporary.iterdir()) == []


def _open_to_others(left: Path) -> None:
    left.chmod(0o777)


def _without_a_mark(left: Path) -> None:
    (left / scratch._OWNED).unlink()


def _with_a_linked_mark(left: Path) -> None:
    (left / scratch._OWNED).rename(left / "moved")
    (left / scratch._OWNED).symlink_to("moved")


def _of_another_kernel(left: Path) -> None:
    (left / scratch._OWNED).write_text("7d0c3b0e\n")


def _with_a_pipe(left: Path) -> None:
    (left / scratch._OWNED).unlink()
    os.mkfifo(left / scratch._OWNED)


def _of_another_name(left: Path) -> None:
    left.rename(left.with_name("mine"))


def _linked(left: Path) -> None:
    left.rename(left.with_name("elsewhere"))
    left.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "change",
    [
        _open_to_others,
        _without_a_mark,
        _with_a_linked_mark,
        _of_another_kernel,
        _with_a_pipe,
        _of_another_name,
        _linked,
    ],
)
def test_whatever_is_not_surely_left_by_a_killed_process_stays(change, temporary: Path) -> None:
    left = temporary / "weightsmith-test-0"
    with scratch_folder() as folder:
        shutil.copytree(folder, left)
    left.chmod(0o700)
    (left / "data").write_text("x")
    change(left)
    before = sorted(temporary.iterdir())
    with scratch_folder():
        pass
    assert sorted(temporary.iterdir()) == before
    assert [path.name for path in temporary.rglob("data")] == ["data"]


def test_the_same_folder_without_a_change_goes(temporary: Path) -> None:
    left = temporary / "weightsmith-test-0"
    with scratch_folder() as folder:
        shutil.copytree(folder, left)
    left.chmod(0o700)
    with scratch_folder():
        assert not left.exists()


def test_where_no_kernel_says_which_it_is_nothing_goes(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_KERNEL", temporary / "none")
    left = _abandoned(temporary)
    with scratch_folder():
        assert left.exists()
