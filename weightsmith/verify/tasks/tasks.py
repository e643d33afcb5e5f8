"""Tasks of lm-evaluation-harness, looked at before an engine is started, and run while its server is up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import EngineFailed, MissingInput, MissingPackage, Usage
from weightsmith.process import child
from weightsmith.verify.tasks.expected import is_path
from weightsmith.verify.tasks.task_job import TaskAnswer, TaskJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.verify.tasks.task_job import Asked, TaskRun

_MODULE = "weightsmith.verify.tasks.worker"
# Data sets may have to be downloaded first, and a task of 14,000 questions takes hours: only its answers have a limit.
_PATIENCE = float("inf")
# Of the child that has the harness in it.
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", **child.CALM_THREADS}


def found(tasks: Sequence[str], model: Path) -> tuple[str, ...]:
    """The tasks as a child knows them, files by absolute paths.

    A task file is a program: lm-eval expands its templates and runs the functions that it names. The user names it, so
    it is run; what lies in the model's folder came with the model, of which nothing is run.
    Raises MissingInput for a file that is not there, Usage for one of the model's and for two of the same name.
    """
    made = []
    for task in tasks:
        if not is_path(task):
            made.append(task)
            continue
        try:
            path = Path(task).resolve(strict=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
            fact = f"is no task file and no folder of them ({error})"
            raise MissingInput(task, fact, "name a .yaml of lm-eval's form") from error
        if path.is_relative_to(model.resolve()):
            raise Usage(
                task,
                "lies in the model's folder, and a task file is a program",
                "read it, and copy it to another place if you trust it",
            )
        made.append(str(path))
    if len(set(made)) < len(made):
        raise Usage("--task", "the same task is named twice", "name each once")
    return tuple(made)


def look(tasks: Sequence[str], folder: Path, *, prefix_lm: bool, tell: child.Stage) -> None:
    """Loads the tasks and their data sets. Raises Usage for what cannot be run, MissingPackage without lm-eval."""
    outcome = child.run(
        _MODULE, folder, TaskJob(tuple(tasks), prefix_lm).to_json(), ENVIRONMENT, _PATIENCE, tell
    )
    failure = outcome.failure
    if failure is None:
        return
    if failure.refused:
        raise Usage("--task", failure.what, "`lm-eval ls tasks` lists what it has")
    if failure.unusable:
        raise MissingPackage("lm-eval", failure.what, "pip install 'weightsmith[tasks]'")
    raise EngineFailed("--task", failure.sentence(), "mend the task, or the way to the hub of its data")


def run(
    tasks: Sequence[str], asked: Asked, folder: Path, tell: child.Stage
) -> tuple[TaskRun, ...] | child.Failure:
    """Asks the server. A failure comes back as a value."""
    job = TaskJob(tuple(tasks), asked=asked)
    outcome = child.run(_MODULE, folder, job.to_json(), ENVIRONMENT, _PATIENCE, tell)
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "answering the tasks")
    return TaskAnswer.from_json(outcome.result).runs
