"""What a task's accuracy and a load's figures are compared with: numbers of the user, or the result of a former run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import KEPT_RESULT, read_json_object
from weightsmith.errors import InvalidConfig, Usage
from weightsmith.records import NotARecord
from weightsmith.verify.engine.bench_job import BenchAnswer, LoadRun
from weightsmith.verify.tasks.task_job import TaskAnswer, TaskRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.json_value import JsonObject

_WAY_OUT = "name a file that `weightsmith verify-on-npu --json` printed"


@dataclass(frozen=True, slots=True)
class Expected:
    """accuracies: by task, in [0, 1]. runs: of a former run, by task. loads: of a former run.

    source: the file of that run, empty without one. device, engine: that it ran on. settings: of its server.
    tolerance: the largest drop that nobody minds, None where none is named.
    """

    accuracies: Mapping[str, float] = field(default_factory=dict)
    runs: Mapping[str, TaskRun] = field(default_factory=dict)
    loads: tuple[LoadRun, ...] = ()
    source: str = ""
    device: str = ""
    engine: str = ""
    settings: str = ""
    tolerance: float | None = None


def read(baselines: Sequence[str], tasks: Sequence[str], tolerance: float | None) -> Expected:
    """What `--baseline` names: `0.703`, `70.3%`, `TASK=0.703`, or the JSON of a former run.

    tasks: as they were asked for. Raises Usage for what is none of these or belongs to no task, MissingInput and
    InvalidConfig for a file.
    """
    found = Expected(tolerance=tolerance)
    accuracies: dict[str, float] = {}
    for text in baselines:
        name, equals, value = text.rpartition("=")
        accuracy = share(value)
        if accuracy is None:
            found = _of_a_run(Path(text), tolerance)
        elif equals:
            accuracies[_named(name, tasks)] = accuracy
        else:
            accuracies[_only(tasks, text)] = accuracy
    return replace(found, accuracies=accuracies)


def share(text: str) -> float | None:
    """A share in [0, 1] from `0.703`, `70.3%` or `2pp`; None for anything else."""
    bare = text.strip().lower()
    number = bare.removesuffix("%") if bare.endswith("%") else bare.removesuffix("pp")
    try:
        value = float(number) / (1 if number == bare else 100)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def short(task: str) -> str:
    """How a task is called in a result: a file or a folder by its name without its suffix."""
    return Path(task).stem if is_path(task) else task


def is_path(task: str) -> bool:
    """Whether a task is a file or a folder, and not one of lm-eval's names."""
    return os.sep in task or task.endswith((".yaml", ".yml"))


def _named(name: str, tasks: Sequence[str]) -> str:
    if short(name) not in map(short, tasks):
        raise Usage("--baseline", f"{name} is none of the tasks", "name it with --task, too")
    return short(name)


def _only(tasks: Sequence[str], text: str) -> str:
    if len(tasks) != 1:
        words = f"{text} belongs to no task" if not tasks else f"{text} does not say to which task it belongs"
        raise Usage("--baseline", words, "write TASK=ACCURACY, and name the task with --task")
    return short(tasks[0])


def _of_a_run(file: Path, tolerance: float | None) -> Expected:
    document = read_json_object(file, KEPT_RESULT, named=True)
    if document.get("command") != "verify-on-npu":
        raise InvalidConfig(file, "is no result of verify-on-npu", _WAY_OUT)
    try:
        tasks = TaskAnswer.from_json({"runs": document.get("tasks", [])})
        loads = BenchAnswer.from_json({"runs": _object(document, "bench").get("loads", [])})
    except NotARecord as error:
        way_out = "make it again with this version of weightsmith"
        raise InvalidConfig(file, f"is no whole result of verify-on-npu ({error})", way_out) from error
    if not all(0 <= score <= 1 for run in tasks.runs for score in run.scores.values()):
        raise InvalidConfig(file, "has a score of an item that is no share of 0 to 1", _WAY_OUT)
    versions = _object(_object(document, "engine"), "versions")
    words = _object(document, "served").get("words")
    return Expected(
        runs={run.name: run for run in tasks.runs},
        loads=loads.runs,
        source=str(file),
        device=str(_object(document, "device").get("name", "")),
        engine=", ".join(f"{name} {versions[name]}" for name in versions if name.startswith("vllm")),
        # Behind the model, and before host and port.
        settings=" ".join(map(str, words[1:-4])) if isinstance(words, list) else "",
        tolerance=tolerance,
    )


def _object(parent: JsonObject, name: str) -> JsonObject:
    found = parent.get(name)
    return found if isinstance(found, Mapping) else {}
