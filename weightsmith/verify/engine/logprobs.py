"""In the engine's child: the log-probabilities of the whole vocabulary, from vLLM's lists into one file."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from weightsmith.process.child import Stage

LOGPROBS = "engine.safetensors"

# vLLM 0.32 hands the vocabulary over as Python lists, about 100 bytes an entry with the integers and floats in
# them (flat_logprobs: four lists of eight-byte references): 4 million entries are 400 MB for a moment.
_ENTRIES_AT_ONCE = 4_000_000
# Only when an engine refuses the whole vocabulary: what most deployments allow.
_TOP_K_FALLBACK = 20


def measure(
    llm: Any,
    sampling: Any,
    prompts: list[list[int]],
    order: list[int],
    job: dict[str, Any],
    folder: Path,
    stage: Stage,
) -> dict[str, Any]:
    """Greedy answers once more, with the log-probabilities of the whole vocabulary at every position.

    Writes `p<n>.logprobs` float32 [positions, vocabulary]; where the engine gives only its top k,
    `p<n>.logprobs` [positions, k] and `p<n>.ids` int32 [positions, k]. A large vocabulary gets fewer
    positions, not fewer entries. `seconds` of the result is the engine's part.
    """
    import numpy as np
    from safetensors.numpy import save_file

    vocabulary = int(llm.llm_engine.vllm_config.model_config.get_vocab_size())
    positions = max(4, min(job["max_tokens"], job["entries"] // (vocabulary * max(1, len(order)))))
    at_once = max(1, min(concurrency(llm), _ENTRIES_AT_ONCE // (vocabulary * positions)))
    arrays: dict[str, NDArray[np.generic]] = {}
    tokens: list[list[Any]] = []
    k = -1
    seconds = 0.0
    for start in range(0, len(order), at_once):
        stage("measuring log-probabilities", start, len(order))
        group = order[start : start + at_once]
        requests = [{"prompt_token_ids": prompts[n]} for n in group]
        llm.reset_prefix_cache()
        began = time.perf_counter()
        try:
            outputs = llm.generate(requests, _full(sampling, positions, k), use_tqdm=False)
        except Exception:
            # vLLM 0.32 refuses with VLLMValidationError, earlier ones with ValueError.
            if start or k != -1:
                raise
            k = job["max_logprobs"] if job["max_logprobs"] > 0 else _TOP_K_FALLBACK
            outputs = llm.generate(requests, _full(sampling, positions, k), use_tqdm=False)
        seconds += time.perf_counter() - began
        for n, output in zip(group, outputs, strict=True):
            completion = output.outputs[0]
            tokens.append([n, list(completion.token_ids)])
            ids, values = _columns(completion.logprobs)
            if k == -1:
                arrays[f"p{n}.logprobs"] = _dense(ids, values, vocabulary)
            else:
                arrays[f"p{n}.logprobs"] = values[:, 1:].copy()
                arrays[f"p{n}.ids"] = ids[:, 1:].astype(np.int32)
        del outputs
    save_file(arrays, folder / LOGPROBS)
    return {"tokens": tokens, "vocabulary": vocabulary, "partial": k != -1, "seconds": seconds}


def _full(sampling: Any, positions: int, k: int) -> Any:
    flat = {"flat_logprobs": True} if "flat_logprobs" in inspect.signature(sampling).parameters else {}
    return sampling(temperature=0.0, max_tokens=positions, logprobs=k, detokenize=False, **flat)


def _columns(logprobs: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Token ids and log-probabilities [positions, entries], the chosen token first, then by rank.

    vLLM's dictionaries drop the second mention of the chosen token; it is put back, so that both forms read alike.
    """
    import numpy as np

    if hasattr(logprobs, "start_indices"):
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


def concurrency(llm: Any) -> int:
    """How many requests of the full `max_model_len` the KV cache holds at once, at least 1."""
    config = llm.llm_engine.vllm_config
    cache, length = config.cache_config, config.model_config.max_model_len
    known = getattr(cache, "kv_cache_max_concurrency", None)
    return max(1, int(known or (cache.num_gpu_blocks or 0) * cache.block_size / length))
