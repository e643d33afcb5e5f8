"""Tasks and loads in, checks out: a task against its baseline, a load against its own requests and answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.formats import percent
from weightsmith.process.child import Failure
from weightsmith.verify.checks import Check
from weightsmith.verify.judge.verdicts import repetition_check
from weightsmith.verify.measure import accuracy, repetition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.verify.checks import Verdict
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.engine.server_job import Bench, Served
    from weightsmith.verify.measure.accuracy import Accuracy
    from weightsmith.verify.tasks.expected import Expected
    from weightsmith.verify.tasks.task_job import TaskRun


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task, and how it stands to its baseline.

    against: None without a baseline. source: where that is from. unpaired: why its items were not compared one by
    one, None where they were.
    """

    run: TaskRun
    against: Accuracy | None = None
    source: str = ""
    unpaired: str | None = None


def results(served: Served | Failure | None, expected: Expected) -> tuple[TaskResult, ...]:
    """Every task that was run, against what is expected of it."""
    if served is None or isinstance(served, Failure) or isinstance(served.tasks, Failure):
        return ()
    return tuple(_result(run, expected) for run in served.tasks)


def _result(run: TaskRun, expected: Expected) -> TaskResult:
    scores, tolerance = run.scores, expected.tolerance
    if run.name in expected.accuracies:
        number = expected.accuracies[run.name]
        against = accuracy.unpaired(list(scores.values()), number, tolerance)
        return TaskResult(run, against, "a number", "the baseline is a number")
    before = expected.runs.get(run.name)
    if before is None or not before.items:
        return TaskResult(run)
    if before.metric != run.metric:
        return TaskResult(run, source=expected.source, unpaired=f"the baseline's metric is {before.metric}")
    both = accuracy.same_items(scores, before.scores)
    if both is not None:
        return TaskResult(run, accuracy.paired(*both, tolerance), expected.source)
    against = accuracy.unpaired(list(scores.values()), before.mean, tolerance, len(before.items))
    return TaskResult(run, against, expected.source, "the baseline's questions are others")


def task_checks(served: Served | Failure | None, found: Sequence[TaskResult]) -> tuple[Check, ...]:
    """One check a task. A run that broke off fails: what is served could not answer its questions.

    One that was refused says nothing of what is served.
    """
    if isinstance(served, Failure) or served is None:
        return ()
    if isinstance(served.tasks, Failure):
        verdict: Verdict = "inconclusive" if served.tasks.refused else "fail"
        return (Check("task", verdict, "no result", "result", served.tasks.sentence()),)
    return tuple(_task_check(one) for one in found)


def _task_check(found: TaskResult) -> Check:
    run, against = found.run, found.against
    name = f"task.{run.name}"
    mean = run.mean
    words = [f"{run.metric} {percent(mean, 1)} of {len(run.items)} items"]
    if run.clipped:
        words.append(f"{run.clipped} answers had less room than the task gives them (--max-model-len)")
    if against is None:
        why = found.unpaired or "nothing to compare with"
        words.append(f"{why}: --baseline takes an accuracy, or this result of another run")
        return Check(name, "inconclusive", round(mean, 6), None, "; ".join(words))
    words.append(f"baseline {percent(against.baseline, 1)} ({found.source})")
    words += [_compared(against, found.unpaired), _decided(against)]
    return Check(name, against.verdict, round(mean, 6), round(against.threshold, 6), "; ".join(words))


def _compared(against: Accuracy, unpaired: str | None) -> str:
    if against.lost is None or against.gained is None:
        return f"not item by item: {unpaired}"
    return f"item by item: {against.lost} lost, {against.gained} gained"


def _decided(against: Accuracy) -> str:
    noise, drop = _points(against.noise), _points(max(against.drop, 0.0))
    chance = f"a drop of {drop}, chance explains up to {noise}"
    if against.tolerance is not None:
        chance += f", {_points(against.tolerance)} are tolerated: {against.decided_by} decides"
    words = [chance, f"four runs in five would see a true drop of {_points(against.detectable)}"]
    if against.verdict == "inconclusive":
        words.append(
            "so few items tell nothing"
            if against.blind
            else "more than is tolerated, and too few items to tell it from chance"
        )
        if against.enough is not None:
            words.append(
                f"{against.enough:,} would be enough, or the baseline's own items (its result as JSON)"
            )
    return "; ".join(words)


def _points(share: float) -> str:
    return f"{100 * share:.2f} pp"


def bench_checks(
    served: Served | Failure | None, run: EngineRun, limits: Mapping[str, float]
) -> tuple[Check, ...]:
    """Whether every request of every load was answered, and the answers under load are the engine's."""
    if isinstance(served, Failure) or served is None or served.bench is None:
        return ()
    if isinstance(served.bench, Failure):
        return (Check("load", "fail", "no result", "result", served.bench.sentence()),)
    return _requests_check(served.bench), _answers_check(served.bench, run, limits)


def _requests_check(bench: Bench) -> Check:
    asked = sum(one.load.requests for one in bench.loads)
    done = sum(one.completed for one in bench.loads)
    words = f"{done} of {asked} requests answered in {len(bench.loads)} loads"
    fault = next((one.fault for one in bench.loads if one.fault), "")
    return Check("load", "pass" if done == asked else "fail", done, asked, f"{words}{fault and f': {fault}'}")


def _answers_check(bench: Bench, run: EngineRun, limits: Mapping[str, float]) -> Check:
    """The worst of all times that the prompts were asked."""
    first = run.passes["batch"].completions
    found = [repetition.compare("load", first, answers) for answers in bench.answered]
    worst = max(found, key=lambda one: (len(one.parted), one.delta_max))
    check = repetition_check(worst, limits)
    words = f"asked {len(found)} times while the load ran, the worst time: {check.detail}"
    return replace(check, name="load.answers", detail=words)
