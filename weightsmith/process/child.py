"""A child process that cannot hurt us: own process group, timeout, log kept, nobody of the group left alive."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JOB, RESULT, FAILURE, STAGES, LOG = "job.json", "result.json", "failure.json", "stages.jsonl", "log.txt"

# Often enough that a progress line is not felt as late, seldom enough to cost nothing.
POLL_SECONDS = 0.1
# A killed process of the group is gone in milliseconds; what nobody reaps stays a zombie for ever.
_DYING_SECONDS = 0.5
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
    """Why a child gave no result: `what` in one line, the stage it was in, its last meaningful log lines.

    `unusable` is set when the child says that its software is missing or broken, which no model caused.
    """

    what: str
    stage: str
    log: tuple[str, ...] = ()
    unusable: bool = False

    def sentence(self) -> str:
        last = f" [{self.log[-1]}]" if self.log else ""
        return f"{self.what} while {self.stage}{last}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exactly one of `result` (what the child wrote) and `failure` is set. `seconds`: wall time of the child."""

    result: dict[str, Any] | None
    failure: Failure | None
    seconds: float


def run(
    module: str,
    folder: Path,
    job: Mapping[str, Any],
    env: Mapping[str, str],
    timeout_s: float,
    progress: Stage | None = None,
) -> Outcome:
    """Runs `python -m module folder` in `folder` and reads what it leaves there.

    The folder is made and must be new: with `-m` Python imports from the working directory first, so that
    directory may hold nothing but our own files, least of all a stranger's model.
    The job goes in as `job.json`; the module's main hands `work` to `serving.serve`, which writes the rest.
    """
    with started(module, folder, env) as waiting:
        return waiting.run(job, timeout_s, progress)


@contextlib.contextmanager
def started(module: str, folder: Path, env: Mapping[str, str]) -> Iterator[Waiting]:
    """A child that is there before its job is, and imports meanwhile. It ends with the block, whatever happens."""
    folder.mkdir()
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            cwd=folder,
            env=_environment(folder, env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Waiting(process, folder)
        finally:
            if not (folder / JOB).exists():  # else `Waiting.run` has ended it
                _end_group(process)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A child without a job yet. It takes one job only."""

    process: subprocess.Popen[bytes]
    folder: Path

    def run(self, job: Mapping[str, Any], timeout_s: float, progress: Stage | None = None) -> Outcome:
        """Hands over the job and waits for the end. seconds: from here on."""
        began = time.monotonic()
        try:
            write_whole(self.folder / JOB, job)
            timed_out = _wait(self.process, self.folder / STAGES, began + timeout_s, progress)
        finally:
            _end_group(self.process)
        seconds = time.monotonic() - began
        result = None if timed_out else _read_json(self.folder / RESULT)
        if result is not None:
            return Outcome(result, None, seconds)
        limit = timeout_s if timed_out else None
        return Outcome(None, _failure(self.folder, self.process.returncode, limit), seconds)


def write_whole(path: Path, document: Mapping[str, Any]) -> None:
    """Whoever looks for the file finds all of it or nothing."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)


def last_words(log: str) -> tuple[str, ...]:
    """The last lines of a log that a person would want: the final exception, else the last lines with text."""
    lines = [_DECORATION.sub("", line).rstrip() for line in log.replace("\r", "\n").splitlines()]
    lines = [line for line in lines if line.strip() and not _PROGRESS_BAR.search(line)]
    raised = [n for n, line in enumerate(lines) if _EXCEPTION.match(line)]
    if raised:
        return tuple(lines[raised[-1] : raised[-1] + _TAIL_LINES])
    return tuple(lines[-_TAIL_LINES:])


def _environment(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, inherited))),
        "PYTHONUNBUFFERED": "1",
        # Whatever the engine drops (rendezvous files, compile caches) goes when our folder goes.
        "TMPDIR": str(folder),
        **env,
    }


def _wait(process: subprocess.Popen[bytes], stages: Path, deadline: float, progress: Stage | None) -> bool:
    """Waits for the end, passing stages on; True when the deadline came first."""
    told = 0
    while True:
        ended = process.poll() is not None
        seen = _stages(stages)
        if progress is not None:
            for step in seen[told:]:
                progress(*step)
        told = len(seen)
        if ended:
            return False
        if time.monotonic() > deadline:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kills whoever of the child's group is still alive, the child included.

    vLLM's workers are children of the child: they outlive it when only the child is killed.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # The others die on their own time, and until then may write into the folder that is removed next.
    deadline = time.monotonic() + _DYING_SECONDS
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(POLL_SECONDS / 10)


def _failure(folder: Path, returncode: int, timeout_s: float | None) -> Failure:
    seen = _stages(folder / STAGES)
    stage = seen[-1][0] if seen else "starting"
    with (folder / LOG).open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        tail = last_words(log.read().decode("utf-8", "replace"))
    if timeout_s is not None:
        return Failure(f"no result within {timeout_s:g} s (killed)", stage, tail)
    told = _read_json(folder / FAILURE)
    if told is not None:
        return Failure(str(told["what"]), stage, tail, bool(told["unusable"]))
    if returncode < 0:
        return Failure(f"killed by {signal.Signals(-returncode).name}", stage, tail)
    return Failure(f"ended with exit status {returncode} and without a result", stage, tail)


def _stages(path: Path) -> list[tuple[str, int, int]]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [tuple(json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None when there is none whole: a child may die in the middle of writing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
