"""An engine for vectors as the rest of the room sees it: one job in, one run out."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.process import child
from weightsmith.verify.engine import engine as engines
from weightsmith.verify.engine.engine import Started
from weightsmith.verify.engine.pooled_job import VECTORS, PooledAnswer, PooledJob
from weightsmith.verify.measure.vectors import read_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weightsmith.verify.engine.device import DeviceKind
    from weightsmith.verify.engine.engine import ModelFolder, UserChoice
    from weightsmith.verify.engine.engine_job import Pass, Setting
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.pooling import Pooling
    from weightsmith.verify.measure.vectors import Vectors

_MODULE = "weightsmith.verify.engine.pooled_worker"
# Up to so many positions a KV cache always has room for; a model with fewer is left to the engine.
_SHORT = 4096


@dataclass(frozen=True, slots=True)
class PooledRun:
    """What one engine answered.

    texts: one text each, or a query and a document. passes: the vectors by pass, and in them by the text's number.
    """

    texts: tuple[tuple[str, ...], ...]
    answer: PooledAnswer
    passes: Mapping[str, Vectors]
    started: Started


def asks(how: Pooling, texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """What the engine is asked: the texts; a reranker is asked of two of them how well each of the texts fits."""
    if how.task != "score":
        return tuple((text,) for text in texts)
    queries = texts[0], texts[len(texts) // 2]
    return tuple((queries[n % 2], text) for n, text in enumerate(texts))


def job(
    model: ModelFolder,
    device: DeviceKind,
    kind: Kind,
    how: Pooling,
    texts: Sequence[str],
    asked: UserChoice,
) -> PooledJob:
    """The job of the engine's child."""
    pairs = asks(how, texts)
    engine = engines.job(model, device, kind, texts, 0, asked=replace(asked, long_tokens=0))
    positions = min((n for n in (model.max_positions, how.longest) if n), default=None)
    short = positions is not None and positions <= _SHORT
    said = asked.arguments is not None and any(word.startswith("--runner") for word in asked.arguments)
    changes: dict[str, Setting] = {} if said else {"runner": "pooling"}
    if asked.arguments is None:
        # The engine knows best how many positions an encoder has: RoBERTa's config counts two too many.
        changes |= {"max_logprobs": 1} | ({"max_model_len": None} if short else {})
    engine = replace(
        engine, chunk=None, sized=True, entries=0, passes=_passes(engine.passes), changes=changes
    )
    return PooledJob(engine, how, pairs)


def _passes(found: Sequence[Pass]) -> tuple[Pass, ...]:
    """Nothing is decoded, so that a warm prefix cache is no arrangement of its own."""
    return tuple(one for one in found if one.cold)


def run(
    task: PooledJob, folder: Path, timeout_s: float, progress: child.Stage | None = None
) -> PooledRun | child.Failure:
    """Starts the engine on `task` in a child of its own under `folder`; its failure comes back as a value."""
    variables = engines.variables_of(task.engine) | engines.room_for_sockets(folder)
    outcome = child.run(_MODULE, folder, task.to_json(), variables, timeout_s, progress)
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "unknown")
    try:
        answer = PooledAnswer.from_json(outcome.result)
        passes = read_vectors(folder / VECTORS, answer.orders)
    except (KeyError, ValueError) as error:
        return child.Failure(f"partial output ({type(error).__name__}: {error})", "reading its answers")
    exact = engines.repeats(task.engine.device, os.environ | variables)
    whole = replace(answer, seconds=replace(answer.seconds, whole=outcome.seconds))
    started = Started(task.engine.arguments, answer.added, variables, exact)
    return PooledRun(task.texts, whole, passes, started)
