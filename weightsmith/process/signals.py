"""Signals: a run that is told to end unwinds its stack and cleans up, whoever asked for it.

Only the main thread may set handlers. In any other thread these context managers do nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, once: later ones are ignored.

    By itself SIGTERM ends Python on the spot, and no `finally` runs. A second signal must not stop the cleaning.
    """
    taken = _settable(_ENDING)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in taken:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    with _handled(taken, interrupt):
        yield


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise SystemExit with the status that a shell expects, 128 + number."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handled(_settable((signal.SIGTERM, signal.SIGHUP)), leave):
        yield


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Holds SIGINT, SIGTERM and SIGHUP back while the block runs, and delivers them at its end.

    By Python handlers: a signal mask holds for one thread, and the kernel would hand the signal to another.
    """
    held: list[int] = []
    try:
        with _handled(_settable(_ENDING), lambda number, frame: held.append(number)):
            yield
    finally:
        for number in held:
            signal.raise_signal(number)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupts the block with TimeoutError after so many seconds. Limits may be nested: the shortest holds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer, started = signal.getitimer(signal.ITIMER_REAL)[0], time.monotonic()
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, outer) if outer else seconds)
    try:
        yield
    finally:
        left = max(outer - (time.monotonic() - started), 0.001) if outer else 0.0
        signal.signal(signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, left)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("took too long")


def _settable(numbers: tuple[signal.Signals, ...]) -> list[signal.Signals]:
    """Those of the signals that this thread may handle and later put back.

    A handler that was not set from Python reads None and cannot be put back. Whoever ignores a signal (nohup
    ignores SIGHUP) goes on ignoring it.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in numbers if signal.getsignal(number) not in {None, signal.SIG_IGN}]


@contextmanager
def _handled(
    numbers: list[signal.Signals], handler: Callable[[int, FrameType | None], object]
) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, handler)
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def end_by_interrupt() -> NoReturn:
    """Ends as a program ends that does not catch Ctrl-C: a shell then sees 130 and stops its script, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit(128 + signal.SIGINT)  # where the signal is blocked
