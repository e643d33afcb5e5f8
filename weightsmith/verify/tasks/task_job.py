"""What the child is asked that has the harness in it, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from weightsmith.records import Record


@dataclass(frozen=True, slots=True)
class Asked(Record):
    """A server that is to be asked.

    port: of this machine. served_as: the model's name there. before, after: text around each prompt.
    timeout_s: of one answer. beginning: the token that stands before a text without a context, None for none.
    """

    port: int
    served_as: str
    before: str = ""
    after: str = ""
    timeout_s: float = 3600.0
    beginning: int | None = None


@dataclass(frozen=True, slots=True)
class TaskJob(Record):
    """tasks: names that lm-eval knows, or absolute paths of task files and folders of them.

    prefix_lm: whether the model sees its prompt in both directions. asked: None only to look at the tasks.
    """

    tasks: tuple[str, ...]
    prefix_lm: bool = False
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Item(Record):
    """One question of a task. id: of the question with its examples, the same in every run. score: in [0, 1]."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class TaskRun(Record):
    """A task that was run.

    name: as it was asked for. metric: the one that is judged, and the filter that its answers went through.
    version: of the task. shots: worked examples before each question, None where the task's parts differ.
    measures: every figure of the harness, by part, metric and filter. harness: version of lm-eval.
    clipped: answers that had less room than the task gives them. seconds: of the whole task.
    """

    name: str
    metric: str
    version: str
    shots: int | None
    items: tuple[Item, ...]
    measures: Mapping[str, float] = field(default_factory=dict)
    harness: str = ""
    clipped: int = 0
    seconds: float = 0.0

    @property
    def scores(self) -> dict[str, float]:
        """Score by item."""
        return {item.id: item.score for item in self.items}

    @property
    def mean(self) -> float:
        """Of the scores. Raises ZeroDivisionError without items."""
        scores = self.scores
        return math.fsum(scores.values()) / len(scores)


@dataclass(frozen=True, slots=True)
class TaskAnswer(Record):
    """The runs in the order of the job's tasks; none where it asks no server."""

    runs: tuple[TaskRun, ...]
