"""vLLM's own benchmark client against a server that runs, and the prompts asked again while it does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from weightsmith.process import child
from weightsmith.verify.engine.bench_job import UNDER_LOAD, BenchAnswer, Load
from weightsmith.verify.engine.client import BROKEN
from weightsmith.verify.engine.server import completed
from weightsmith.verify.engine.server_job import Bench

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from weightsmith.verify.engine.bench_job import BenchJob
    from weightsmith.verify.engine.client import Client
    from weightsmith.verify.engine.server import Questions
    from weightsmith.verify.inputs.tokens import Completion

_MODULE = "weightsmith.verify.engine.bench_worker"
# As the field reports have them.
CONCURRENCY = (1, 10)
# Requests for each that runs at a time: with ten of them a 99th percentile is the slowest of 100.
ROUNDS = 10


def loads(lengths: Sequence[tuple[int, int]]) -> tuple[Load, ...]:
    """Every pair of lengths (input, output) at every concurrency."""
    return tuple(
        Load(at_once, before, after, ROUNDS * at_once) for before, after in lengths for at_once in CONCURRENCY
    )


def run(
    job: BenchJob,
    client: Client,
    questions: Questions,
    folder: Path,
    environment: Mapping[str, str],
    tell: child.Stage,
) -> Bench | child.Failure:
    """Measures the loads of the job, and asks the questions time after time while the last of it runs.

    A failure comes back as a value.
    """
    over = threading.Event()
    asked: list[Future[tuple[Mapping[int, Completion], ...]]] = []

    def follow(text: str, done: int = 0, total: int = 0, /) -> None:
        tell(text, done, total)
        if text == UNDER_LOAD:
            asked.append(pool.submit(_until, over, client, questions))

    with ThreadPoolExecutor(1) as pool:
        try:
            outcome = child.run(_MODULE, folder, job.to_json(), environment, float("inf"), follow)
        finally:
            over.set()
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "measuring")
    try:
        answered = asked[0].result()
    except BROKEN as error:
        return child.Failure(f"{type(error).__name__}: {error}", UNDER_LOAD)
    return Bench(BenchAnswer.from_json(outcome.result).runs, answered)


def _until(
    over: threading.Event, client: Client, questions: Questions
) -> tuple[Mapping[int, Completion], ...]:
    """The answers of each time that all was asked; at least once."""
    found = [completed(client, questions, lambda *_: None)[0]]
    while not over.is_set():
        found.append(completed(client, questions, lambda *_: None)[0])
    return tuple(found)
