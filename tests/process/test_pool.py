"""Many tasks in a few processes: all results come, and no process outlives the block or the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from weightsmith.process.pool import results_unordered


def where(task: int) -> tuple[int, int, int, str]:
    """The task, this process, its group, and its folder for temporary files."""
    return task, os.getpid(), os.getpgrp(), tempfile.gettempdir()


def hang(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


def test_every_task_has_its_result_and_every_process_a_group_of_its_own() -> None:
    with results_unordered(where, range(5), 2, 2) as results:
        found = sorted(results)
    assert [task for task, *_ in found] == list(range(5))
    assert all(process == group for _, process, group, _ in found)
    assert len({process for _, process, *_ in found}) >= 3  # two tasks each
    (folder,) = {folder for *_, folder in found}
    assert not Path(folder).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_parent(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import sys; from tests.process.test_pool import hang; from weightsmith.process.pool import *\n"
        "with results_unordered(hang, [sys.argv[1]] * 2, 2, 1) as results: list(results)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stderr=subprocess.DEVNULL,
        # A shell that runs the suite in the background hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(workers := [path.name for path in tmp_path.iterdir()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.send_signal(number)
    parent.wait(20)
    while any(Path("/proc", worker).exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
