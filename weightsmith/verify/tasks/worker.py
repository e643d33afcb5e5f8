"""Run as a child: lm-evaluation-harness, which loads tasks and asks them of a server."""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from weightsmith.process.serving import RefusedJobError, serve
from weightsmith.verify.tasks.expected import is_path, short
from weightsmith.verify.tasks.task_job import Asked, Item, TaskAnswer, TaskJob, TaskRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage

_SUFFIXES = (".yaml", ".yml")
_LIKELIHOOD = frozenset({"loglikelihood", "multiple_choice"})


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A task as it was asked for, and the parts that it is made of. metrics: the judged one of each part."""

    name: str
    parts: Mapping[str, Task]
    metrics: Mapping[str, str]


def work(job: JsonObject, folder: Path, stage: Stage) -> JsonObject:
    """Loads every task, and runs them where there is a server. Raises RefusedJobError for what cannot be run."""
    asked = TaskJob.from_json(job)
    stage("loading the tasks")
    loaded = _load_all(asked)
    if asked.asked is None:
        for one in loaded:
            for task in one.parts.values():
                # A template that fails is told now and not after the engine's start.
                _settle(task)
                task.build_all_requests(limit=1, rank=0, world_size=1)
        return TaskAnswer(()).to_json()
    return TaskAnswer(tuple(_run(one, asked.asked, stage) for one in loaded)).to_json()


def _load_all(job: TaskJob) -> list[_Loaded]:
    from lm_eval.tasks import TaskManager

    # The index of lm-eval's own 14,000 names takes longer than everything else here.
    manager = TaskManager(include_defaults=not all(map(is_path, job.tasks)))
    found = []
    for name in job.tasks:
        parts = _load(manager, name)
        for part, task in parts.items():
            _need_runnable(part, task, job)
        metrics = {part: _judged(part, task) for part, task in parts.items()}
        found.append(_Loaded(short(name), parts, metrics))
    return found


def _load(manager: TaskManager, name: str) -> dict[str, Task]:
    """The parts of a task, a group, a tag, or of the files at a path. Paths in a file are relative to the file."""
    if not is_path(name):
        return _loaded(manager, name)
    path = Path(name)
    files = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES) if path.is_dir() else [path]
    found: dict[str, Task] = {}
    with _standing_in(path if path.is_dir() else path.parent):
        for file in files:
            # As lm-eval's own: a file whose name begins so is only included by others.
            if not file.name.startswith("_"):
                found |= _loaded(manager, str(file))
    if not found:
        raise RefusedJobError(f"{name} has no task file (.yaml)")
    return found


def _loaded(manager: TaskManager, name: str) -> dict[str, Task]:
    """Raises RefusedJobError in lm-eval's words: it and the libraries under it raise what they like."""
    from yaml import YAMLError

    try:
        return dict(manager.load(name)["tasks"])
    except KeyError as error:
        raise RefusedJobError(f"lm-eval has no task {name} ({error.args[0]})") from error
    except (ValueError, TypeError, OSError, RuntimeError, AttributeError, ImportError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RefusedJobError(f"{name} cannot be loaded: {type(error).__name__}: {reason:.300}") from error


@contextmanager
def _standing_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _need_runnable(name: str, task: Task, job: TaskJob) -> None:
    kind = task.OUTPUT_TYPE
    if getattr(task, "UNSAFE_CODE", False):
        raise RefusedJobError(f"{name} runs what the model writes, which nothing here does")
    if getattr(task, "MULTIMODAL", False):
        raise RefusedJobError(f"{name} shows pictures, and only texts are sent to the server")
    if kind == "loglikelihood_rolling":
        raise RefusedJobError(f"{name} measures the likelihood of whole texts, which is no accuracy")
    if job.prefix_lm and kind in _LIKELIHOOD:
        raise RefusedJobError(
            f"{name} measures likelihoods ({kind}), and this model is a prefix-LM: a prompt together with its "
            "continuation is prefilled in both directions, so each token sees the ones that it is to foretell"
        )


def _judged(name: str, task: Task) -> str:
    """The task's first metric that is a mean over its items and better when it is higher."""
    from lm_eval.api.metrics import mean

    higher, aggregation = task.higher_is_better(), task.aggregation()
    for metric in aggregation:
        if aggregation[metric] is mean and higher.get(metric):
            return str(metric)
    raise RefusedJobError(
        f"{name} has no accuracy: none of its metrics ({', '.join(aggregation)}) is a mean over items that "
        "is better when it is higher"
    )


def _run(loaded: _Loaded, asked: Asked, stage: Stage) -> TaskRun:
    from lm_eval.evaluator import evaluate

    from weightsmith.verify.tasks.served_model import ServedModel

    began = time.monotonic()
    model = ServedModel(asked, stage)
    for task in loaded.parts.values():
        _settle(task)
    # Without bootstrap: the judgement has its own statistics.
    found = evaluate(model, {"tasks": dict(loaded.parts), "groups": {}}, bootstrap_iters=0, log_samples=True)
    rows = {name: list(found["samples"][name]) for name in loaded.parts}
    filters = {name: str(samples[0]["filter"]) for name, samples in rows.items()}
    items = [item for name in rows for item in _items(name, rows[name], loaded.metrics[name], filters[name])]
    return TaskRun(
        name=loaded.name,
        metric=_common(f"{loaded.metrics[name]},{filters[name]}" for name in rows),
        version=_common(str(found["versions"].get(name)) for name in rows),
        shots=_shots([found["n-shot"].get(name) for name in rows]),
        items=tuple(items),
        measures=_measures(found["results"]),
        harness=version("lm_eval"),
        clipped=model.clipped,
        seconds=time.monotonic() - began,
    )


def _settle(task: Task) -> None:
    """The same examples in every run, as `lm_eval.simple_evaluate` chooses them.

    That function would import torch for a seed, and start programs to describe the machine.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    random.seed(DEFAULT_RANDOM_SEED)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def _items(name: str, samples: Sequence[Mapping[str, Json]], metric: str, chosen: str) -> Iterator[Item]:
    """Of one part, what its judged metric gives each item. The hash is of the prompt with its examples."""
    for sample in samples:
        if sample["filter"] == chosen:
            score = float(cast("float", sample[metric]))
            if not 0 <= score <= 1:
                raise RefusedJobError(f"{name} gives an item {score:g} by {metric}, which is no share")
            yield Item(f"{name}/{sample['doc_id']}/{str(sample['prompt_hash'])[:12]}", score)


def _measures(results: Mapping[str, Mapping[str, object]]) -> dict[str, float]:
    return {
        f"{part}/{name}": float(value)
        for part, measures in results.items()
        for name, value in measures.items()
        if isinstance(value, int | float) and "," in name and not name.startswith("sample_len")
    }


def _common(values: Iterator[str]) -> str:
    return " | ".join(dict.fromkeys(values))


def _shots(found: Sequence[int | None]) -> int | None:
    return found[0] if len(set(found)) == 1 else None


if __name__ == "__main__":
    serve(work)
