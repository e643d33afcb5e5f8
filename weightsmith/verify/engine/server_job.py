"""What the server is started with and asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.records import Record
from weightsmith.verify.engine.startup import Startup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.process.child import Failure
    from weightsmith.verify.engine.bench_job import LoadRun
    from weightsmith.verify.inputs.tokens import Completion
    from weightsmith.verify.tasks.task_job import TaskRun


@dataclass(frozen=True, slots=True)
class ServerJob(Record):
    """words: behind `vllm serve`."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a server answered.

    completions, texts: by prompt number, of prompts given as token ids.
    streamed: text of the first prompt's answer, its pieces put together.
    chat_ids: token ids that the server made of the chat's question, None where nothing was asked so.
    chat: its answer.
    """

    completions: Mapping[int, Completion]
    texts: Mapping[int, str]
    streamed: str
    chat_ids: tuple[int, ...] | None = None
    chat: Completion | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What vLLM's benchmark client measured.

    loads: each alone on the server. answered: the prompts' completions while one more load ran, time after time.
    """

    loads: tuple[LoadRun, ...]
    answered: tuple[Mapping[int, Completion], ...]


@dataclass(frozen=True, slots=True)
class Served:
    """One server's life.

    words: behind `vllm serve`. loading: seconds until it was healthy.
    clean: whether it ended by itself when it was told to. startup: what its log says of the loading.
    tasks: that were run. bench: None where nobody asked for it.
    """

    words: tuple[str, ...]
    loading: float
    answers: Answers
    clean: bool
    startup: Startup = field(default_factory=Startup)
    tasks: tuple[TaskRun, ...] | Failure = ()
    bench: Bench | Failure | None = None
