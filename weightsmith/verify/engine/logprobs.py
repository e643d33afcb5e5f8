"""In the engine's child: the log-probabilities of the whole vocabulary, from vLLM's lists into one file."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.verify.engine.engine_job import MeasuredLogprobs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from vllm import LLM, RequestOutput, SamplingParams
    from vllm.logprobs import FlatLogprobs, SampleLogprobs

    from weightsmith.process.child import Stage
    from weightsmith.verify.engine.engine_job import EngineJob

    # What vLLM gives per completion: lists with the starts of positions in them, or a dictionary a position.
    RawLogprobs: TypeAlias = FlatLogprobs | SampleLogprobs

LOGPROBS = "engine.safetensors"

# vLLM 0.32 hands the vocabulary over as Python lists, about 100 bytes an entry with the integers and floats in
# them (flat_logprobs: four lists of eight-byte references): 4 million entries are 400 MB for a moment.
_ENTRIES_AT_ONCE = 4_000_000
# Only when an engine refuses the whole vocabulary: what most deployments allow.
_TOP_K_FALLBACK = 20
# vLLM's word for all log-probabilities of a position.
_WHOLE = -1


def measure(
    llm: LLM,
    request: Callable[[int], Mapping[str, object]],
    order: Sequence[int],
    job: EngineJob,
    folder: Path,
    stage: Stage,
) -> MeasuredLogprobs:
    """Greedy completions once more, with the log-probabilities of the whole vocabulary at every position.

    Writes `p<n>.logprobs` float32 [positions, vocabulary]; where the engine gives only its top k,
    `p<n>.logprobs` [positions, k] and `p<n>.ids` int32 [positions, k]. A large vocabulary gets fewer
    positions, not fewer entries.
    request: a prompt by its number, as vLLM takes it. order: the numbers of those to complete.
    """
    from safetensors.numpy import save_file

    vocabulary = int(llm.llm_engine.vllm_config.model_config.get_vocab_size())
    positions = max(4, min(job.max_tokens, job.entries // (vocabulary * max(1, len(order)))))
    at_once = max(1, min(concurrency(llm), _ENTRIES_AT_ONCE // (vocabulary * positions)))
    fewer = job.max_logprobs if job.max_logprobs > 0 else _TOP_K_FALLBACK
    k = _WHOLE
    arrays: dict[str, NDArray[np.generic]] = {}
    tokens: dict[int, tuple[int, ...]] = {}
    seconds = 0.0
    for start in range(0, len(order), at_once):
        stage("measuring log-probabilities", start, len(order))
        group = order[start : start + at_once]
        llm.reset_prefix_cache()
        began = time.perf_counter()
        asked = [request(n) for n in group]
        outputs, k = _generate(llm, asked, positions, k, fewer if not start else None)
        seconds += time.perf_counter() - began
        for n, output in zip(group, outputs, strict=True):
            tokens[n] = tuple(output.outputs[0].token_ids)
            arrays |= _arrays(n, output.outputs[0].logprobs, vocabulary, whole=k == _WHOLE)
        del outputs
    save_file(arrays, folder / LOGPROBS)
    return MeasuredLogprobs(tokens, vocabulary, k != _WHOLE, seconds)


def _generate(
    llm: LLM, requests: Sequence[Mapping[str, object]], positions: int, k: int, fewer: int | None
) -> tuple[list[RequestOutput], int]:
    """Completions with k log-probabilities a position, and k.

    fewer: what to ask for where the engine refuses k; None raises its refusal.
    """
    try:
        return llm.generate(requests, _sampling(positions, k), use_tqdm=False), k
    except Exception:  # vLLM 0.32 refuses with VLLMValidationError, earlier ones with ValueError
        if fewer is None:
            raise
    return llm.generate(requests, _sampling(positions, fewer), use_tqdm=False), fewer


def _sampling(positions: int, k: int) -> SamplingParams:
    from vllm import SamplingParams

    flat = {"flat_logprobs": True} if "flat_logprobs" in inspect.signature(SamplingParams).parameters else {}
    return SamplingParams(temperature=0.0, max_tokens=positions, logprobs=k, detokenize=False, **flat)


def _arrays(n: int, logprobs: RawLogprobs, vocabulary: int, *, whole: bool) -> dict[str, NDArray[np.generic]]:
    """The tensors of one prompt, by name."""
    import numpy as np

    ids, values = _columns(logprobs)
    if whole:
        return {f"p{n}.logprobs": _dense(ids, values, vocabulary)}
    return {f"p{n}.logprobs": values[:, 1:].copy(), f"p{n}.ids": ids[:, 1:].astype(np.int32)}


def _columns(logprobs: RawLogprobs) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Token ids and log-probabilities [positions, entries], the chosen token first, then by rank.

    vLLM's dictionaries drop the second mention of the chosen token; it is put back, so that both forms read alike.
    """
    import numpy as np

    if hasattr(logprobs, "start_indices"):  # vLLM's FlatLogprobs
        positions = len(logprobs.start_indices)
        ids = np.array(logprobs.token_ids, dtype=np.int64).reshape(positions, -1)
        return ids, np.array(logprobs.logprobs, dtype=np.float32).reshape(positions, -1)
    rows = [list(row.items()) for row in logprobs]
    ranked = [[row[0], *sorted(row, key=lambda item: item[1].rank)] for row in rows]
    width = min(len(row) for row in ranked)
    ids = np.array([[token for token, _ in row[:width]] for row in ranked], dtype=np.int64)
    return ids, np.array([[entry.logprob for _, entry in row[:width]] for row in ranked], dtype=np.float32)


def _dense(ids: NDArray[np.int64], values: NDArray[np.float32], vocabulary: int) -> NDArray[np.float32]:
    """Entries by rank → entries by token id; a token that the engine never named stays NaN and is seen as such."""
    import numpy as np

    dense = np.full((ids.shape[0], vocabulary), np.nan, dtype=np.float32)
    np.put_along_axis(dense, ids, values, axis=1)
    return dense


def concurrency(llm: LLM) -> int:
    """How many requests of the full `max_model_len` the KV cache holds at once, at least 1."""
    config = llm.llm_engine.vllm_config
    cache, length = config.cache_config, config.model_config.max_model_len
    known = getattr(cache, "kv_cache_max_concurrency", None)
    return max(1, int(known or (cache.num_gpu_blocks or 0) * cache.block_size / length))
