"""The other side of `child`: what a process does that was started to take one job and leave one result."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from weightsmith.process.child import FAILURE, JOB, POLL_SECONDS, RESULT, STAGES, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.process.child import Stage

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(
    work: Callable[[dict[str, Any], Path, Stage], dict[str, Any]], prepare: Callable[[], None] | None = None
) -> NoReturn:
    """Reads the job, runs `work(job, folder, stage)`, leaves a result or a failure, never both.

    prepare: what can be done before the job is there.
    """
    _die_with_parent()
    folder = Path(sys.argv[1])

    def stage(text: str, done: int = 0, total: int = 0, /) -> None:
        with (folder / STAGES).open("a", encoding="utf-8") as stages:
            stages.write(json.dumps([text, done, total], ensure_ascii=False) + "\n")

    try:
        if prepare is not None:
            stage("importing")
            prepare()
        while not (folder / JOB).exists():
            time.sleep(POLL_SECONDS / 10)
        job = json.loads((folder / JOB).read_text(encoding="utf-8"))
        result = work(job, folder, stage)
    except BaseException as error:
        traceback.print_exc()
        reason = str(error).strip().splitlines()
        what = f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
        facts = {"what": what, "unusable": isinstance(error, ImportError)}
        (folder / FAILURE).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
        _leave(1)
    write_whole(folder / RESULT, result)
    _leave(0)


def _leave(status: int) -> NoReturn:
    """Ends this process at once: what an engine does at interpreter exit may hang, and all that matters is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _die_with_parent() -> None:
    """Asks Linux to kill this process when its parent goes, even by SIGKILL; elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
