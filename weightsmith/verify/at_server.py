"""What is done while a server of the model is up: the engine's questions, tasks, and loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.process.child import Failure
from weightsmith.verify.engine import bench, server
from weightsmith.verify.engine import engine as engines
from weightsmith.verify.engine.bench_job import BenchJob
from weightsmith.verify.engine.server_job import Served
from weightsmith.verify.tasks import tasks
from weightsmith.verify.tasks.task_job import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.engine.engine_job import Setting
    from weightsmith.verify.engine.server import Questions, Running
    from weightsmith.verify.engine.server_job import Bench
    from weightsmith.verify.steps import Steps
    from weightsmith.verify.tasks.task_job import TaskRun

# Positions of a server whose settings are chosen here, where tasks and loads come: what five worked examples fill.
_POSITIONS = 4096


def serve(steps: Steps, run: EngineRun, folder: Path) -> Served | Failure:
    """The same model in the same way behind the OpenAI-compatible server, which is asked what the engine was.

    Raises what `Steps` raises of an installation that is broken.
    """
    options, started = steps.options, run.started
    tell = steps.telling("server")
    words = server.words(steps.model, started.arguments, _settings(steps, started.added))
    first = [n for n in run.passes["batch"].completions if n not in run.pictures]
    chat = None if run.chat is None else steps.prompts[0].text
    questions = server.Questions({n: run.prompt_ids[n] for n in first}, options.max_tokens, chat)
    variables = engines.of_a_server(started.variables, folder)
    tell("starting the server")
    with server.started(server.Start(words, folder, variables, options.engine_timeout)) as running:
        if isinstance(running, Failure):
            return running
        answers = server.answers(running, questions, tell)
        if isinstance(answers, Failure):
            return answers
        done = _tasks(steps, running, run, folder.with_name("tasks"))
        measured = _loads(steps, running, questions, folder.with_name("bench"))
        tell("stopping the server")
        return Served(
            running.words, running.loading, answers, running.stop(), running.startup, done, measured
        )


def _settings(steps: Steps, chosen: Mapping[str, Setting]) -> Mapping[str, Setting]:
    """The chosen settings of the engine, with room for more than the prompts where more will come."""
    if not (steps.options.tasks or steps.options.bench):
        return chosen
    return roomier(chosen, steps.files.max_positions, steps.files.config)


def roomier(
    chosen: Mapping[str, Setting], max_positions: int | None, config: JsonObject
) -> dict[str, Setting]:
    """Settings with up to 4,096 positions, and no more than change nothing else.

    vLLM chooses the factors of a LongRoPE by the length that it serves; and without chunks a whole prompt is one batch.
    """
    known = (max_positions, *(_original(config.get(name)) for name in ("rope_parameters", "rope_scaling")))
    served = chosen.get("max_model_len")
    length = max(min((_POSITIONS, *filter(None, known))), served if isinstance(served, int) else 0)
    found = {**chosen, "max_model_len": length}
    batch = chosen.get("max_num_batched_tokens")
    if chosen.get("enable_chunked_prefill") is False and isinstance(batch, int):
        found["max_num_batched_tokens"] = max(batch, length)
    return found


def _original(rope: Json) -> int | None:
    """The length that a model was trained at before its positions were stretched."""
    found = rope.get("original_max_position_embeddings") if isinstance(rope, dict) else None
    return found if isinstance(found, int) else None


def _tasks(steps: Steps, running: Running, run: EngineRun, folder: Path) -> tuple[TaskRun, ...] | Failure:
    if not steps.options.tasks:
        return ()
    template = steps.kind.template
    asked = Asked(
        running.client.port,
        running.client.served_as,
        "".join(template.before) if run.wrapped else "",
        "".join(template.after) if run.wrapped else "",
        steps.options.engine_timeout,
        _beginning(steps.files.config),
    )
    return tasks.run(steps.options.tasks, asked, folder, steps.telling("tasks"))


def _beginning(config: Mapping[str, object]) -> int | None:
    """The token that stands before a text without a context, as lm-eval's own models have it."""
    for name in ("bos_token_id", "eos_token_id"):
        found = config.get(name)
        if isinstance(found, list):
            found = found[0] if found else None
        if isinstance(found, int):
            return found
    return None


def _loads(steps: Steps, running: Running, questions: Questions, folder: Path) -> Bench | Failure | None:
    if not steps.options.bench:
        return None
    loads = bench.loads(steps.options.bench)
    job = BenchJob(
        str(steps.model.resolve()), running.client.port, running.client.served_as, loads, loads[-1]
    )
    variables = engines.environment(steps.device.kind)
    return bench.run(job, running.client, questions, folder, variables, steps.telling("load"))
