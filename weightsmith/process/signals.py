"""A run that is told to end, ends: children killed, temporary folder removed, whoever asked for it."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP unwind the stack as Ctrl-C does, once: a second one cannot stop the cleaning.

    By itself SIGTERM ends Python on the spot, and no `finally` is heard. Only the main thread may set handlers; in
    another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A handler that was not set from Python reads None and cannot be put back; SIGHUP ignored (nohup) stays so.
    before = {number: signal.getsignal(number) for number in _ENDING}
    ours = [number for number, handler in before.items() if handler not in {None, signal.SIG_IGN}]

    def end(number: int, frame: Any) -> None:
        for other in ours:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
