"""In the engine's child: an engine as `vllm serve` starts it, its arguments read by vLLM's own parser."""

from __future__ import annotations

import copy
import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from typing import TYPE_CHECKING

from weightsmith.process.serving import RefusedJobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm import EngineArgs

    from weightsmith.verify.engine.engine_job import EngineJob, Setting

# What vLLM fills in by the way it is used: its server takes other batches than `vllm.LLM`.
_OPEN = ("max_num_batched_tokens", "max_num_seqs")


def arguments(job: EngineJob) -> tuple[dict[str, object], dict[str, Setting]]:
    """What `vllm.LLM` is to be started with, and which of it the user did not ask for.

    Raises RefusedJobError for words that vLLM's parser does not take, and what vLLM raises for settings that do not
    go together.
    """
    from vllm.usage.usage_lib import UsageContext

    asked = read(job.arguments or (), job.model)
    added = _additions(job, asked)
    for name, value in added.items():
        setattr(asked, name, value)
    # A copy, since vLLM fills in what it is given.
    scheduler = (
        copy.deepcopy(asked)
        .create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
        .scheduler_config
    )
    for name in _OPEN:
        if getattr(asked, name) is None:
            setattr(asked, name, getattr(scheduler, name))
    return {field.name: getattr(asked, field.name) for field in fields(asked) if field.init}, added


def read(words: Sequence[str], model: str) -> EngineArgs:
    """The engine's settings from the words behind `--`. Raises RefusedJobError in the words of vLLM's parser."""
    from vllm import EngineArgs
    from vllm.entrypoints.cli import serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(said):
            parsed = serve.make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(list(words))
    except SystemExit as error:
        lines = said.getvalue().strip().splitlines()
        told = lines[-1].partition("error: ")[2] if lines else ""
        raise RefusedJobError(f"vLLM does not take them: {told or 'they ask for help'}") from error
    except ValueError as error:
        raise RefusedJobError(f"vLLM does not take them: {error}") from error
    if parsed.model_tag is not None:
        raise RefusedJobError(
            f"{parsed.model_tag} is no argument of the engine, and MODEL stands before `--`"
        )
    parsed.model = model
    return EngineArgs.from_cli_args(parsed)


def _additions(job: EngineJob, asked: EngineArgs) -> dict[str, Setting]:
    """What a verification needs beyond what was asked for."""
    added: dict[str, Setting] = dict(job.changes)
    if asked.max_logprobs != -1:
        added["max_logprobs"] = job.max_logprobs
    if asked.disable_log_stats:
        added["disable_log_stats"] = False
    if job.memory_share is not None and asked.gpu_memory_utilization > job.memory_share:
        added["gpu_memory_utilization"] = job.memory_share
    return added
