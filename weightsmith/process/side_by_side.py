"""Questions to several children at once: it takes as long as the slowest, and nobody waits for one that hangs."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.process import child, group
from weightsmith.process.scratch import scratch_folder
from weightsmith.process.signals import unwound_by_signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import JsonObject
    from weightsmith.process.child import Outcome, Waiting

_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """A job for `module`'s main (see `child.run`), and the variables beside those of this process."""

    module: str
    job: JsonObject
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. idle: how long a child may neither compute nor read; in_all: how long it may take even if it does."""

    idle: float
    in_all: float


# With a child that asks torch for devices, or imports an engine. torch_npu's first count waits for the driver, which
# has taken over 20 s on a cold Atlas node. Importing vLLM computes for 14 s on 2 cores, and reads for a minute from a
# slow network disk: who makes progress may take longer.
WITH_DRIVERS = Patience(idle=22.0, in_all=150.0)


def ask_together(questions: Mapping[str, Question], patience: Patience) -> dict[str, Outcome]:
    """Name → the outcome of its question. All children are gone at the end."""
    with unwound_by_signals(), scratch_folder() as scratch, ExitStack() as open_children:
        watched: dict[str, _Watched] = {}
        for name, question in questions.items():
            started = child.started(question.module, scratch / name, question.environment)
            waiting = open_children.enter_context(started)
            waiting.give(question.job)
            watched[name] = _Watched(waiting, patience)
        outcomes: dict[str, Outcome] = {}
        while watched:
            for name in [name for name, one in watched.items() if one.is_over()]:
                outcomes[name] = watched.pop(name).outcome()
            time.sleep(child.POLL_SECONDS)
    return {name: outcomes[name] for name in questions}


class _Watched:
    """A child that has its job, and what it did when it was last looked at."""

    def __init__(self, waiting: Waiting, patience: Patience) -> None:
        self.waiting, self.patience = waiting, patience
        self.began = self.looked = self.moved = time.monotonic()
        self.work = (0, 0)
        self.impatient = ""

    def is_over(self) -> bool:
        if group.has_ended(self.waiting.process):
            return True
        now = time.monotonic()
        if now - self.looked > _LOOK_SECONDS:
            self.looked, work = now, group.work_done(self.waiting.process)
            if work != self.work:
                self.work, self.moved = work, now
        if now - self.moved > self.patience.idle:
            self.impatient = f"no answer within {now - self.began:.0f} s: it waits and does nothing"
        elif now - self.began > self.patience.in_all:
            self.impatient = f"no answer within {self.patience.in_all:g} s"
        return bool(self.impatient)

    def outcome(self) -> Outcome:
        return self.waiting.outcome(self.began, self.impatient)
