"""The engine as the rest of the room sees it: one job in, one run out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weightsmith import determinism
from weightsmith.process import child
from weightsmith.verify.engine.engine_job import EngineAnswer, EngineJob, EngineSeconds, EngineSettings, Pass
from weightsmith.verify.engine.logprobs import LOGPROBS
from weightsmith.verify.inputs.tokens import LogprobFile, PassResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weightsmith.verify.engine.device import DeviceKind
    from weightsmith.verify.inputs.kinds import Kind

_MODULE = "weightsmith.verify.engine.worker"

# Full-vocabulary log-probabilities of one run: 64 million entries are 256 MB on disk and about 40 s of vLLM's
# own Python. 32 prompts × 32 tokens fit a vocabulary of 62,500 whole; 151,936 leaves 13 tokens a prompt.
_ENTRIES = 64_000_000

_LARGE_BYTES = 1_000_000_000

_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # The core in the worker's own process: one process less to import everything (15 s instead of 25 s on
    # two cores), its settings can be read, and its exceptions are ours to catch.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
# Eager mode compiles nothing, and dynamo costs seconds to find that out.
_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    # On AMX machines vLLM otherwise rounds the activations of int4 models to int8: 18 times bf16's own noise, measured.
    "VLLM_CPU_INT4_W4A8": "0",
    **child.CALM_THREADS,
}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as the engine needs to know it. nbytes: of its weights. max_positions: None where no config says it."""

    path: Path
    nbytes: int
    max_positions: int | None


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What one engine generated, and how it ran.

    prompt_ids: token ids by prompt.
    left_out: prompts that are too long for the model.
    wrapped: whether the template's special tokens were put around the prompts.
    texts: the first pass's completions as text, by prompt number.
    passes: by name.
    measured: the tokens whose log-probabilities lie in `logprobs`, by prompt number.
    failed: passes that gave nothing, with the reason.
    eager_and_graphs: why eager mode was not compared with graphs; None where it was.
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    left_out: tuple[int, ...]
    wrapped: bool
    texts: Mapping[int, str]
    passes: Mapping[str, PassResult]
    measured: Mapping[int, tuple[int, ...]]
    logprobs: LogprobFile
    settings: EngineSettings
    seconds: EngineSeconds
    peak_bytes: int
    failed: Mapping[str, str] = field(default_factory=dict)
    eager_and_graphs: str | None = None


def passes(prompts: int) -> tuple[Pass, ...]:
    """The arrangements that determinism is judged by; the first is the one whose completions are shown.

    "alone" takes six prompts spread over the list, enough to see batch effects at a sixth of the cost.
    """
    everything = tuple(range(prompts))
    half = prompts // 2
    shuffled = tuple(reversed(everything[half:])) + tuple(reversed(everything[:half]))
    spread = everything[:: max(1, prompts // 6)]
    return (
        Pass("batch", everything, together=True, cold=True),
        Pass("repeat", everything, together=True, cold=True),
        Pass("warm", everything, together=True, cold=False),
        Pass("shuffled", shuffled, together=True, cold=True),
        Pass("alone", spread, together=False, cold=True),
    )


def job(
    model: ModelFolder,
    device: DeviceKind,
    kind: Kind,
    texts: Sequence[str],
    max_tokens: int,
    max_logprobs: int = -1,
) -> EngineJob:
    """The job of the engine's child.

    texts: the prompts.
    max_tokens: of each completion.
    max_logprobs: the most the engine may be asked for at a position, -1 for the whole vocabulary.
    Prefix-LMs run eager on an NPU: full-graph decode masks them wrongly (field-notes 7).
    """
    return EngineJob(
        model=str(model.path.resolve()),
        device=device,
        dtype="bfloat16",
        prompts=tuple(texts),
        before=kind.template.before,
        after=kind.template.after,
        max_tokens=max_tokens,
        max_positions=model.max_positions,
        max_num_seqs=32,
        eager=device == "cpu" or kind.mask == "prefix",
        prefix_caching=kind.prefix_caching,
        chunked_prefill=kind.chunked_prefill,
        entries=_ENTRIES,
        max_logprobs=max_logprobs,
        passes=tuple(p for p in passes(len(texts)) if p.cold or kind.prefix_caching is not False),
        kv_gib=cpu_cache_gib(model.nbytes),
    )


def cpu_cache_gib(nbytes: int) -> int:
    """GiB of KV cache on a CPU, for a model of so many bytes.

    Tiny models need no cache to speak of; 4 GiB hold 5,000 tokens of HRM-Text-1B.
    """
    return 1 if nbytes < _LARGE_BYTES else 4


def graphs(device: DeviceKind, kind: Kind, found: EngineRun) -> str | None:
    """Why there is no graph mode to compare eager mode with; None where the engine found runs one.

    vLLM 0.32's CPU platform sets the graph mode to NONE and leaves `enforce_eager` to choose inductor or not.
    """
    if device == "cpu":
        return "not compared: vLLM has no graphs on a CPU and runs eager here"
    if kind.mask == "prefix":
        return "not compared: a prefix-LM runs eager here, since full graphs mask its decode wrongly"
    return "not compared: the engine chose to run eager" if found.settings.eager else None


def run_eager(
    task: EngineJob, folder: Path, timeout_s: float, progress: child.Stage | None = None
) -> PassResult | child.Failure:
    """The first pass of `task` by a second engine in eager mode: are the first one's graphs to be trusted?"""
    first = replace(task, eager=True, entries=0, passes=task.passes[:1])
    found = run(first, folder, timeout_s, progress)
    if isinstance(found, child.Failure):
        return found
    return replace(found.passes["batch"], engine_seconds=found.seconds.whole)


def environment(device: DeviceKind) -> dict[str, str]:
    """Variables of every child that starts an engine on `device`."""
    own = {"cpu": _CPU, "npu": determinism.ENVIRONMENT, "cuda": {}}
    return _OFFLINE | own[device]


def run(
    task: EngineJob, folder: Path, timeout_s: float, progress: child.Stage | None = None
) -> EngineRun | child.Failure:
    """Starts the engine on `task` in a child of its own under `folder`; its failure comes back as a value."""
    variables = environment(task.device)
    if task.device == "cpu":
        variables["VLLM_CPU_KVCACHE_SPACE"] = str(task.kv_gib)
    outcome = child.run(_MODULE, folder, task.to_json(), variables, timeout_s, progress)
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "unknown")
    try:
        answer = EngineAnswer.from_json(outcome.result)
        need_whole_completions(answer, task.max_tokens)
        return read_answer(task, answer, folder, outcome.seconds)
    except (KeyError, ValueError) as error:
        return child.Failure(f"partial output ({type(error).__name__}: {error})", "reading its answers")


def need_whole_completions(answer: EngineAnswer, max_tokens: int) -> None:
    """Raises ValueError for a completion that ends neither with an end token nor at the limit: it was cut off."""
    for one in answer.passes.values():
        for prompt, completion in one.completions.items():
            tokens, finish = completion.tokens, completion.finish
            ended = finish == "stop" and tokens and tokens[-1] in answer.end_tokens
            if not ended and not (finish == "length" and len(tokens) >= max_tokens):
                words = f"ends after {len(tokens)} tokens: {finish}"
                raise ValueError(f"the answer to prompt {prompt} {words}, with no end token")


def read_answer(task: EngineJob, answer: EngineAnswer, folder: Path, seconds: float) -> EngineRun:
    """A run from what its child has left under `folder`. seconds: the child's life.

    Raises ValueError when a prompt that fits the model has no completion.
    """
    expected = len(answer.prompt_ids) - len(answer.left_out)
    completed = len(answer.passes["batch"].completions)
    if task.entries:
        completed = min(completed, len(answer.measured.tokens))
    if completed < expected:
        raise ValueError(f"{completed} of {expected} prompts answered")
    return EngineRun(
        prompt_ids=answer.prompt_ids,
        left_out=answer.left_out,
        wrapped=answer.wrapped,
        texts=answer.texts,
        passes=answer.passes,
        measured=answer.measured.tokens,
        logprobs=LogprobFile(folder / LOGPROBS, answer.measured.vocabulary, answer.measured.partial),
        settings=answer.settings,
        seconds=replace(answer.seconds, whole=seconds),
        peak_bytes=answer.peak_bytes,
    )
