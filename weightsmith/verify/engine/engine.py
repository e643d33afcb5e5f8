"""The engine as the rest of the room sees it: one job in, everything it said out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from weightsmith.process import child
from weightsmith.verify.inputs.tokens import Answer, LogprobFile, Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.verify.inputs.kinds import Kind

_MODULE = "weightsmith.verify.engine.worker"
_LOGPROBS = "engine.safetensors"

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
# Names from Huawei's determinism guide (field-notes 8): without them greedy answers differ between runs by design.
_NPU = {
    "HCCL_DETERMINISTIC": "true",
    "LCCL_DETERMINISTIC": "1",
    "ATB_MATMUL_SHUFFLE_K_ENABLE": "0",
    "ATB_LLM_LCOC_ENABLE": "0",
}


@dataclass(frozen=True, slots=True)
class Pass:
    """One arrangement of the same greedy requests. order: prompt numbers. together: one batch, else one by one.

    cold: the prefix cache is emptied first.
    """

    name: str
    order: tuple[int, ...]
    together: bool
    cold: bool


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What the engine said.

    prompt_ids: token ids per prompt. left_out: prompts too long for the model. texts: answer per prompt.
    runs: by pass name. measured: the answers whose log-probabilities lie in `logprobs`. seconds: import, load,
    after_load (all that follows it), measuring (the engine's part in the log-probabilities), whole. failed: passes
    that gave nothing, with the reason.
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    left_out: tuple[int, ...]
    wrapped: bool
    texts: dict[int, str]
    runs: dict[str, Run]
    measured: dict[int, tuple[int, ...]]
    logprobs: LogprobFile
    settings: dict[str, Any]
    seconds: dict[str, float]
    peak_bytes: int
    failed: dict[str, str] = field(default_factory=dict)


def passes(prompts: int) -> tuple[Pass, ...]:
    """The arrangements that determinism is judged by; the first is the one whose answers are shown.

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
    model: Path,
    device: str,
    kind: Kind,
    texts: Sequence[str],
    max_tokens: int,
    max_positions: int | None,
    nbytes: int,
    max_logprobs: int = -1,
) -> dict[str, Any]:
    """What the worker is told. nbytes: of the weights. max_logprobs: the most the engine may be asked for, -1 for all.

    Prefix-LMs run eager on an NPU: full-graph decode masks them wrongly (field-notes 7).
    """
    return {
        "model": str(model.resolve()),
        "device": device,
        "dtype": "bfloat16",
        "prompts": list(texts),
        "before": list(kind.template.before),
        "after": list(kind.template.after),
        "max_tokens": max_tokens,
        "max_positions": max_positions,
        "max_num_seqs": 32,
        "eager": device == "cpu" or kind.mask == "prefix",
        "prefix_caching": kind.prefix_caching,
        "chunked_prefill": kind.chunked_prefill,
        "entries": _ENTRIES,
        "max_logprobs": max_logprobs,
        "passes": [
            {"name": p.name, "order": list(p.order), "together": p.together, "cold": p.cold}
            for p in passes(len(texts))
            if p.cold or kind.prefix_caching is not False
        ],
        # GiB of KV cache on a CPU: tiny models need none to speak of; 4 hold 5,000 tokens of HRM-Text-1B.
        "kv_gib": 1 if nbytes < _LARGE_BYTES else 4,
    }


def graphs(device: str, kind: Kind, found: EngineRun) -> str | None:
    """Why there is no graph mode to compare eager mode with; None where the engine found runs one.

    vLLM 0.32's CPU platform sets the graph mode to NONE and leaves `enforce_eager` to choose inductor or not.
    """
    if device == "cpu":
        return "not compared: vLLM has no graphs on a CPU and runs eager here"
    if kind.mask == "prefix":
        return "not compared: a prefix-LM runs eager here, since full graphs mask its decode wrongly"
    return "not compared: the engine chose to run eager" if found.settings["eager"] else None


def run_eager(
    task: dict[str, Any], folder: Path, timeout_s: float, progress: child.Stage | None = None
) -> Run | child.Failure:
    """The first pass of `task` by a second engine in eager mode: are the first one's graphs to be trusted?"""
    first = {**task, "eager": True, "entries": 0, "passes": task["passes"][:1]}
    found = run(first, folder, timeout_s, progress)
    if isinstance(found, child.Failure):
        return found
    return replace(found.runs["batch"], engine_seconds=found.seconds["whole"])


def environment(device: str) -> dict[str, str]:
    """Variables of every child that starts an engine on `device`."""
    return _OFFLINE | (_CPU if device == "cpu" else _NPU if device == "npu" else {})


def run(
    task: dict[str, Any], folder: Path, timeout_s: float, progress: child.Stage | None = None
) -> EngineRun | child.Failure:
    """Starts the engine on `task` in a child of its own under `folder`; its failure comes back as a value."""
    settings = environment(task["device"])
    if task["device"] == "cpu":
        settings = {**settings, "VLLM_CPU_KVCACHE_SPACE": str(task["kv_gib"])}
    outcome = child.run(_MODULE, folder, task, settings, timeout_s, progress)
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "unknown")
    try:
        need_whole_answers(outcome.result, task["max_tokens"])
        return _read(task, outcome.result, folder, outcome.seconds)
    except (KeyError, TypeError, ValueError) as error:
        return child.Failure(f"partial output ({type(error).__name__}: {error})", "reading its answers")


def need_whole_answers(told: dict[str, Any], max_tokens: int) -> None:
    """Raises ValueError for an answer that ends neither with an end token nor at the limit: it was cut off."""
    for run in told["passes"].values():
        for answer in run["answers"]:
            tokens, finish = answer["tokens"], answer["finish"]
            ended = finish == "stop" and tokens and tokens[-1] in told["ends"]
            if not ended and not (finish == "length" and len(tokens) >= max_tokens):
                words = f"ends after {len(tokens)} tokens: {finish}"
                raise ValueError(f"the answer to prompt {answer['prompt']} {words}, with no end token")


def _read(task: dict[str, Any], told: dict[str, Any], folder: Path, seconds: float) -> EngineRun:
    runs = {name: _read_run(run) for name, run in told["passes"].items()}
    left_out = tuple(told["left_out"])
    expected = len(told["prompt_ids"]) - len(left_out)
    measured = {int(n): tuple(tokens) for n, tokens in told["measured"]["tokens"]}
    answered = len(runs["batch"].answers)
    if task["entries"]:
        answered = min(answered, len(measured))
    if answered < expected:
        raise ValueError(f"{answered} of {expected} prompts answered")
    logprobs = LogprobFile(folder / _LOGPROBS, told["measured"]["vocabulary"], told["measured"]["partial"])
    return EngineRun(
        prompt_ids=tuple(tuple(ids) for ids in told["prompt_ids"]),
        left_out=left_out,
        wrapped=told["wrapped"],
        texts={int(n): text for n, text in told["texts"]},
        runs=runs,
        measured=measured,
        logprobs=logprobs,
        settings=told["settings"],
        seconds={**told["seconds"], "whole": seconds},
        peak_bytes=told["peak_bytes"],
    )


def _read_run(told: dict[str, Any]) -> Run:
    answers = {
        int(a["prompt"]): Answer(
            tokens=tuple(a["tokens"]),
            logprobs=tuple(a["logprobs"]),
            lead=tuple(a["lead"]),
            finish=a["finish"],
            ttft=a["ttft"],
            tpot=a["tpot"],
        )
        for a in told["answers"]
    }
    return Run(answers, told["seconds"])
