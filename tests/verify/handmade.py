"""Engine runs and log-probability files made by hand, so that what they must measure is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from weightsmith.verify.engine.engine import EngineRun
from weightsmith.verify.engine.engine_job import EngineSeconds, EngineSettings
from weightsmith.verify.inputs.tokens import Completion, LogprobFile, PassResult
from weightsmith.verify.reference.replay import References

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Logprobs = NDArray[np.float32]

SETTINGS = EngineSettings(
    dtype="bfloat16",
    architecture="LlamaForCausalLM",
    max_model_len=128,
    quantization=None,
    eager=True,
    block_size=16,
    kv_cache_dtype="auto",
    kv_blocks=8,
    prefix_caching=False,
    chunked_prefill=False,
    max_num_batched_tokens=2048,
    max_num_seqs=32,
    async_scheduling=False,
    compilation=0,
    graph_mode="NONE",
    tensor_parallel=1,
    device_type="cpu",
    attention_backends=("CPU_ATTN",),
    preemptions=0,
    prefix_cache_queries=0,
    prefix_cache_hits=0,
    versions={"vllm": "0"},
)


def log_softmax(logits: NDArray[np.floating[Any]]) -> Logprobs:
    """[positions, vocabulary] → the same, rows normalised."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).astype(np.float32)


def random_logprobs(seed: int, positions: int = 12, vocabulary: int = 50) -> Logprobs:
    return log_softmax(np.random.default_rng(seed).normal(scale=4, size=(positions, vocabulary)))


def noisy(logprobs: Logprobs, scale: float, seed: int = 1) -> Logprobs:
    """The same distributions as a kernel with an error of `scale` nats in every logit would give them."""
    # A stream of its own: drawn with the seed of `random_logprobs` the error would be the logits again, scaled.
    return log_softmax(logprobs + np.random.default_rng([7, seed]).normal(scale=scale, size=logprobs.shape))


def logprob_file(
    path: Path, by_prompt: Mapping[int, Logprobs], ids: Mapping[int, NDArray[np.int32]] | None = None
) -> LogprobFile:
    arrays: dict[str, NDArray[Any]] = {f"p{n}.logprobs": rows for n, rows in by_prompt.items()}
    arrays |= {f"p{n}.ids": columns for n, columns in (ids or {}).items()}
    save_file(arrays, path)
    vocabulary = next(iter(by_prompt.values())).shape[1]
    return LogprobFile(path, vocabulary, partial=ids is not None)


def completion(
    tokens: Sequence[int], logprobs: Sequence[float] | None = None, lead: float = 5.0
) -> Completion:
    chosen = tuple(logprobs) if logprobs is not None else (-0.1,) * len(tokens)
    return Completion(tuple(tokens), chosen, (lead,) * len(tokens), "length", 0.01, 0.001)


def engine_run(logprobs: LogprobFile, measured: Mapping[int, Sequence[int]], **settings: Any) -> EngineRun:
    """A run whose measured tokens are given and whose passes all completed the same."""
    completions = {n: completion(tokens) for n, tokens in measured.items()}
    return EngineRun(
        prompt_ids=tuple((n, n + 1) for n in measured),
        left_out=(),
        wrapped=True,
        texts={n: f"answer {n}" for n in measured},
        passes={name: PassResult(completions, 1.0) for name in ("batch", "repeat", "shuffled", "alone")},
        measured={n: tuple(tokens) for n, tokens in measured.items()},
        logprobs=logprobs,
        settings=replace(SETTINGS, **settings),
        seconds=EngineSeconds(importing=1.0, loading=1.0, measuring=0.25, after_load=0.5, whole=3.0),
        peak_bytes=1 << 30,
    )


def greedy_run(path: Path, by_prompt: Mapping[int, Logprobs]) -> EngineRun:
    """A run that chose its own favourites, as greedy decoding does."""
    tokens = {n: [int(token) for token in rows.argmax(axis=1)] for n, rows in by_prompt.items()}
    return engine_run(logprob_file(path, by_prompt), tokens)


def references(
    full: LogprobFile | None = None,
    half: LogprobFile | None = None,
    controls: Mapping[str, LogprobFile] | None = None,
) -> References:
    return References(full, half, dict(controls or {}), {}, {}, {})
