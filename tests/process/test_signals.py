"""A real run that is told to end in the middle leaves no process and no file behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.verify.conftest import HRM_TEXT
from weightsmith.process.signals import unwound_by_signals


def _living_under(folder: Path) -> list[int]:
    """Processes whose environment names the folder: our children have their TMPDIR in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_while_the_engine_loads_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "weightsmith.cli", "verify-on-npu", str(HRM_TEXT), "--device", "cpu"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [*command, "--no-cache"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the suite in the background hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not any("loading the model" in s.read_text() for s in tmp_path.glob("*/engine/stages.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    assert len(_living_under(tmp_path)) >= 3  # the run, its engine, and the reference that imports meanwhile
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert out == ""
    assert err.strip() == "error: interrupted; nothing half-done was left behind"
    assert _living_under(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(KeyboardInterrupt), unwound_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_what_was_told_to_ignore_the_end_of_its_terminal_goes_on_ignoring_it() -> None:
    """`nohup`: SIGHUP is ignored when the run begins."""
    ignored, before = [], signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with unwound_by_signals(), contextlib.suppress(KeyboardInterrupt):  # which would end pytest itself
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            ignored.append(True)
        assert ignored
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_does_not_stop_the_cleaning() -> None:
    cleaned = []
    with pytest.raises(KeyboardInterrupt), unwound_by_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            cleaned.append("all of it")
    assert cleaned == ["all of it"]
