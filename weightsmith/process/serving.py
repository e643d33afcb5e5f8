"""The other side of `child`: what a process does that was started to take one job and leave one result."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from weightsmith.process.child import FAILURE, JOB, RESULT, STAGES, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage

_JOB_POLL_SECONDS = 0.01


class RefusedJobError(Exception):
    """The job asks for what there is not, and only whoever asked can mend it. The message says so to a person."""


def serve(
    work: Callable[[dict[str, Json], Path, Stage], JsonObject], prepare: Callable[[], None] | None = None
) -> NoReturn:
    """Reads the job, runs `work(job, folder, stage)`, leaves a result or a failure, never both.

    prepare: what can be done before the job is there.
    """
    folder = Path(sys.argv[1])

    def stage(text: str, done: int = 0, total: int = 0, /) -> None:
        with (folder / STAGES).open("a", encoding="utf-8") as stages:
            stages.write(json.dumps([text, done, total], ensure_ascii=False) + "\n")

    try:
        if prepare is not None:
            stage("importing")
            prepare()
        while not (folder / JOB).exists():
            time.sleep(_JOB_POLL_SECONDS)
        job = json.loads((folder / JOB).read_text(encoding="utf-8"))
        result = work(job, folder, stage)
        write_json(folder / RESULT, result)
    except BaseException as error:  # whatever ends the work is the answer, SystemExit and a full disk too
        traceback.print_exc()
        reason = str(error).strip().splitlines()
        refused = isinstance(error, RefusedJobError)
        name = type(error).__name__
        what = name if not reason else reason[0] if refused else f"{name}: {reason[0]}"
        told: JsonObject = {"what": what, "unusable": isinstance(error, ImportError), "refused": refused}
        write_json(folder / FAILURE, told)
        _leave(1)
    _leave(0)


def serve_answer(answer: Callable[[dict[str, Json]], JsonObject]) -> NoReturn:
    """As `serve`, for a function that needs the question alone."""
    serve(lambda question, folder, stage: answer(question))


def _leave(status: int) -> NoReturn:
    """Ends this process at once: what an engine does at interpreter exit may hang, and all that matters is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
