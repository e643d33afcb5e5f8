"""A job for a child process: it goes in as JSON, a result or a failure comes back, and no process stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weightsmith.process import group
from weightsmith.process.durable import replace_file
from weightsmith.process.scratch import scratch_folder
from weightsmith.process.signals import unwound_by_signals

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from weightsmith.json_value import Json, JsonObject

# The files of a child's folder, beside its log. `serving` is the other side.
JOB, RESULT, FAILURE, STAGES = "job.json", "result.json", "failure.json", "stages.jsonl"

# Often enough that a progress line is not felt as late, seldom enough to cost nothing.
POLL_SECONDS = 0.05
_TAIL_BYTES = 64 * 1024
_TAIL_LINES = 8

# For children that compute on the CPU. OpenMP threads that spin while they wait for one another starve each other
# when anything else wants the cores: one verification took 139 s so, 18 s with this (2 cores, load 4).
CALM_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}

_EXCEPTION = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Exit)\b(:|$)")
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|^\(?[\w-]+ pid=\d+\)\s*|^\[rank\d+\]:\s?")
_PROGRESS_BAR = re.compile(r"\d+%.*\||it/s\]|s/it\]")


class Stage(Protocol):
    """Told what begins, or how far it is: `done` of `total` pieces of work, no total where none is known."""

    def __call__(self, text: str, done: int = 0, total: int = 0, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a child gave no result.

    what: in one line. stage: the one that it was in. log: its last meaningful lines.
    unusable: the child says that its software is missing or broken, which no model caused.
    refused: the child says that the job asks for what there is not, which its asker has to mend.
    status: as it ended, minus the signal's number where one killed it; None where it was ended for its time limit.
    """

    what: str
    stage: str
    log: tuple[str, ...] = ()
    unusable: bool = False
    status: int | None = None
    refused: bool = False

    def sentence(self) -> str:
        last = f" [{self.log[-1]}]" if self.log else ""
        return f"{self.what} while {self.stage}{last}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exactly one of `result` (what the child wrote) and `failure` is set. `seconds`: wall time of the child."""

    result: dict[str, Json] | None
    failure: Failure | None
    seconds: float


def ask(module: str, question: JsonObject, env: Mapping[str, str], timeout_s: float) -> Outcome:
    """As `run`, in a temporary folder that is gone afterwards, also when SIGTERM or SIGHUP ends this process."""
    with unwound_by_signals(), scratch_folder() as scratch:
        return run(module, scratch / "child", question, env, timeout_s)


def run(
    module: str,
    folder: Path,
    job: JsonObject,
    env: Mapping[str, str],
    timeout_s: float,
    progress: Stage | None = None,
) -> Outcome:
    """Runs `python -m module folder` in `folder` and reads what it leaves there.

    module: its main hands a function to `serving.serve`. folder: is made and must be new, see `group.started`.
    job: what the function gets. env: variables beside those of this process. timeout_s: seconds of wall time.
    """
    with started(module, folder, env) as waiting:
        return waiting.run(job, timeout_s, progress)


@contextmanager
def started(module: str, folder: Path, env: Mapping[str, str]) -> Iterator[Waiting]:
    """A child that is there before its job is, and imports meanwhile. It ends with the block, whatever happens."""
    folder.mkdir()
    with group.started(module, folder, {**os.environ, **env}) as process:
        yield Waiting(process, folder)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A child without a job yet. It takes one job only."""

    process: subprocess.Popen[bytes]
    folder: Path

    def run(self, job: JsonObject, timeout_s: float, progress: Stage | None = None) -> Outcome:
        """Hands over the job and waits for the end. timeout_s and the outcome's seconds count from here on."""
        began = time.monotonic()
        self.give(job)
        timed_out = self._wait(began + timeout_s, progress)
        return self.outcome(began, f"no result within {timeout_s:g} s (killed)" if timed_out else "")

    def give(self, job: JsonObject) -> None:
        """Hands over the job, and waits for nothing."""
        write_json(self.folder / JOB, job)

    def stop(self, patience_s: float) -> bool:
        """Tells the child to end, as a terminal or a container does, and waits; whether it has ended by itself."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and not group.has_ended(self.process):
            time.sleep(POLL_SECONDS)
        return group.has_ended(self.process)

    def outcome(self, began: float, impatient: str = "") -> Outcome:
        """Ends the child, if it has not ended, and reads what it left. impatient: why nobody waited for its end."""
        status = group.end(self.process)
        seconds = time.monotonic() - began
        if impatient:
            return Outcome(
                None, Failure(impatient, _last_stage(self.folder), _log_tail(self.folder)), seconds
            )
        result = _read_json(self.folder / RESULT)
        if result is not None:
            return Outcome(result, None, seconds)
        return Outcome(None, _failure(self.folder, status), seconds)

    def _wait(self, deadline: float, progress: Stage | None) -> bool:
        """Waits for the end, passing stages on; True when the deadline came first."""
        told = 0
        while True:
            ended = group.has_ended(self.process)
            seen = _stages(self.folder)
            if progress is not None:
                for step in seen[told:]:
                    progress(*step)
            told = len(seen)
            if ended:
                return False
            if time.monotonic() > deadline:
                return True
            time.sleep(POLL_SECONDS)


def write_json(path: Path, document: JsonObject) -> None:
    """Whoever looks for the file finds all of it or nothing."""
    replace_file(path, json.dumps(document, ensure_ascii=False).encode())


def last_words(log: str) -> tuple[str, ...]:
    """The last lines of a log that a person would want: the final exception, else the last lines with text."""
    lines = [_DECORATION.sub("", line).rstrip() for line in log.replace("\r", "\n").splitlines()]
    lines = [line for line in lines if line.strip() and not _PROGRESS_BAR.search(line)]
    raised = [n for n, line in enumerate(lines) if _EXCEPTION.match(line)]
    if raised:
        return tuple(lines[raised[-1] : raised[-1] + _TAIL_LINES])
    return tuple(lines[-_TAIL_LINES:])


def _failure(folder: Path, status: int) -> Failure:
    stage, tail = _last_stage(folder), _log_tail(folder)
    told = _read_json(folder / FAILURE)
    if told is not None:
        return Failure(str(told["what"]), stage, tail, bool(told["unusable"]), status, bool(told["refused"]))
    if status < 0:
        return Failure(f"killed by {signal.Signals(-status).name}", stage, tail, status=status)
    return Failure(f"ended with exit status {status} and without a result", stage, tail, status=status)


def _log_tail(folder: Path) -> tuple[str, ...]:
    with (folder / group.LOG).open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return last_words(log.read().decode("utf-8", "replace"))


def _last_stage(folder: Path) -> str:
    seen = _stages(folder)
    return seen[-1][0] if seen else "starting"


def _stages(folder: Path) -> list[tuple[str, int, int]]:
    path = folder / STAGES
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [tuple(json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]


def _read_json(path: Path) -> dict[str, Json] | None:
    """The object in a file, or None when there is none whole: a child may die in the middle of writing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
