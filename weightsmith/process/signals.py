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
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType
    from typing import NoReturn

CTRL_C = (signal.SIGINT,)
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Interrupted(KeyboardInterrupt):
    """A signal has told this process to end, and its stack unwinds. number: of the signal.

    Whoever leaves something behind on purpose says so in `args`, as words for the user.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def unwound_by_signals(numbers: Sequence[signal.Signals] = _ENDING) -> Iterator[None]:
    """Within the block SIGINT, SIGTERM, SIGHUP and SIGQUIT raise Interrupted, once: later ones are ignored.

    By itself SIGTERM ends Python on the spot, and no `finally` runs; that is right as long as there is nothing to
    clean up, since code of other languages that never returns lets no handler run. A second signal must not stop the
    cleaning. A block within such a block adds the signals that are not handled so yet.
    """
    outermost = all(signal.getsignal(number) is not _unwind for number in _ENDING)
    before = {n: signal.getsignal(n) for n in _settable(numbers) if signal.getsignal(n) is not _unwind}
    try:
        for number in before:
            signal.signal(number, _unwind)
        yield
    finally:
        # The cleaning goes on in the block around this one: later signals stay ignored.
        unwinding = any(signal.getsignal(number) is signal.SIG_IGN for number in before)
        if outermost or not unwinding:
            for number, former in before.items():
                signal.signal(number, former)


def _unwind(number: int, frame: FrameType | None) -> None:
    for other in _ENDING:
        if signal.getsignal(other) is _unwind:
            signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Holds the signals that end a process back while the block runs, and delivers them at its end.

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


def _settable(numbers: Sequence[signal.Signals]) -> list[signal.Signals]:
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


def end_by(interrupt: KeyboardInterrupt) -> NoReturn:
    """Ends by the signal, as a program ends that does not catch it: a shell sees 130 and stops its script, too.

    SIGQUIT would write a core file, which may be as large as the weights in memory; it writes none.
    """
    import resource

    number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # where the signal is blocked
