"""A run that is told to end cleans up first, and a real one leaves no process and no file behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.process.living import living_under
from tests.verify.conftest import HRM_TEXT
from weightsmith.process.signals import CTRL_C, Interrupted, signals_held_back, time_limit, unwound_by_signals

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
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
    assert len(living_under(tmp_path)) >= 3  # the run, its engine, and the reference that imports meanwhile
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == -number
    assert out == ""
    assert err.strip() == "error: interrupted; nothing half-done was left behind"
    assert living_under(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(KeyboardInterrupt), unwound_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def test_a_signal_that_is_held_back_comes_at_the_end_of_the_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), unwound_by_signals():
        with signals_held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("cleaned")
        steps.append("went on")
    assert steps == ["cleaned"]


def test_a_signal_that_is_held_back_is_not_lost_when_the_block_fails() -> None:
    with pytest.raises(KeyboardInterrupt), unwound_by_signals(), signals_held_back():
        os.kill(os.getpid(), signal.SIGHUP)
        raise ValueError


def test_a_second_signal_cannot_stop_the_cleaning() -> None:
    cleaned = False
    with pytest.raises(KeyboardInterrupt), unwound_by_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            cleaned = True
    assert cleaned


def test_whoever_ignores_a_signal_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        for block in (unwound_by_signals, signals_held_back):
            with block():
                os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", ENDING)
def test_the_interrupt_knows_its_signal(number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as interrupt, unwound_by_signals():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert interrupt.value.number == number


def test_a_block_within_a_block_that_handles_less_leaves_the_rest_ignored_too() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with pytest.raises(Interrupted), unwound_by_signals(CTRL_C):
        try:
            with unwound_by_signals():
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
        finally:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def test_a_block_within_a_block_does_not_let_a_second_signal_in() -> None:
    cleaned = []
    with pytest.raises(Interrupted) as interrupt, unwound_by_signals():
        try:
            with unwound_by_signals():
                try:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(5)
                finally:
                    os.kill(os.getpid(), signal.SIGINT)
                    cleaned.append("inner")
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            cleaned.append("outer")
    assert (cleaned, interrupt.value.number) == (["inner", "outer"], signal.SIGTERM)


def test_another_thread_sets_no_handler() -> None:
    done = []

    def work() -> None:
        with unwound_by_signals(), signals_held_back(), time_limit(0.01):
            time.sleep(0.1)
            done.append([signal.getsignal(number) for number in ENDING])

    before = [signal.getsignal(number) for number in ENDING]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]


def test_the_shorter_of_two_time_limits_holds_and_the_longer_stays() -> None:
    with time_limit(60):
        with pytest.raises(TimeoutError), time_limit(0.05):
            time.sleep(5)
        with pytest.raises(TimeoutError), time_limit(0.05), time_limit(60):
            time.sleep(5)
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] < 60
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
