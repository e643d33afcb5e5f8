"""Asks a child process what only transformers can answer: a crash or a hang of its own is then an answer, too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from weightsmith.process import child
from weightsmith.process.serving import serve as serve_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import NoReturn

    from weightsmith.json_value import Json, JsonObject

_QUIET = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}


def ask(module: str, question: JsonObject, seconds: float) -> dict[str, Json]:
    """What `module` answers to the question; {"error": why} when it gives no answer.

    module: its main calls `serve`. seconds: of wall time, after which the child is ended.
    """
    outcome = child.ask(module, question, _QUIET, seconds)
    if outcome.result is not None:
        return outcome.result
    failure = outcome.failure
    if failure is None or failure.status is None:
        return {"error": f"did not answer within {seconds:.0f} s"}
    last = failure.log[-1] if failure.log else f"exit code {failure.status}"
    return {"error": f"ended without an answer ({last})"}


def serve(answer: Callable[[dict[str, Json]], JsonObject]) -> NoReturn:
    """The other side. `answer` imports transformers itself, so that it finds what is set here."""

    def work(question: dict[str, Json], folder: Path, stage: child.Stage) -> JsonObject:
        # Where transformers copies code that travels with a checkpoint, where the user allowed it.
        os.environ["HF_MODULES_CACHE"] = str(folder)
        return answer(question)

    serve_job(work)
