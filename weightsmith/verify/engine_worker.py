"""Run as a child: starts vLLM once, lets it answer in several arrangements, and writes down what it said.

Logits never leave the engine; its log-probabilities of the whole vocabulary do (`max_logprobs=-1`).
"""

from __future__ import annotations

import inspect
import resource
import time
from typing import TYPE_CHECKING, Any

from weightsmith.verify.child import serve
from weightsmith.verify.engine_settings import read_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

LOGPROBS = "engine.safetensors"

# vLLM 0.32 hands the vocabulary over as Python lists, about 100 bytes an entry with the integers and floats in
# them (flat_logprobs: four lists of eight-byte references): 4 million entries are 400 MB for a moment.
_ENTRIES_AT_ONCE = 4_000_000
# Only when an engine refuses the whole vocabulary: what most deployments allow.
_TOP_K_FALLBACK = 20
_BLOCK = 128


def work(job: dict[str, Any], folder: Path, stage: Callable[[str], None]) -> dict[str, Any]:
    """Loads `job["model"]`, runs every pass of `job["passes"]`, saves log-probabilities, returns the rest.

    The result holds, per pass, for each prompt in the order asked: token ids, log-probability of each and
    its lead over the runner-up, time to the first token and overall seconds.
    """
    stage("reading the tokenizer")
    tokenizer = _tokenizer(job["model"])
    prompts, wrapped = _tokenize(tokenizer, job)
    longest_allowed = job["max_positions"] - job["max_tokens"] if job["max_positions"] else None
    fits = [longest_allowed is None or len(ids) <= longest_allowed for ids in prompts]
    if not any(fits):
        raise ValueError(
            f"no prompt fits {job['max_positions']} positions with {job['max_tokens']} new tokens"
        )
    longest = max(len(ids) for ids, fit in zip(prompts, fits, strict=True) if fit)

    stage("importing vLLM")
    started = time.perf_counter()
    if job["device"] == "cpu":
        _permit_amx()
    import vllm

    imported = time.perf_counter()
    stage("loading the model")
    llm = vllm.LLM(**_arguments(job, longest))
    loaded = time.perf_counter()

    passes: dict[str, Any] = {}
    for run in job["passes"]:
        stage(f"answering: {run['name']}")
        kept = [n for n in run["order"] if fits[n]]
        groups = together(kept, _concurrency(llm)) if run["together"] else [[n] for n in kept]
        passes[run["name"]] = _answer(
            llm, vllm.SamplingParams, prompts, groups, run["cold"], job["max_tokens"]
        )
    stage("measuring log-probabilities")
    measured = _measure(
        llm, vllm.SamplingParams, prompts, [n for n, fit in enumerate(fits) if fit], job, folder
    )
    first = passes[job["passes"][0]["name"]]["answers"]
    return {
        "prompt_ids": prompts,
        "left_out": [n for n, fit in enumerate(fits) if not fit],
        "wrapped": wrapped,
        "texts": [[a["prompt"], tokenizer.decode(a["tokens"], skip_special_tokens=True)] for a in first],
        "tokenizer_size": len(tokenizer),
        "ends": _end_tokens(llm, tokenizer),
        "passes": passes,
        "measured": measured,
        "settings": read_back(llm),
        "seconds": {"import": imported - started, "load": loaded - imported},
        "peak_bytes": _peak_bytes(job["device"]),
    }


def _permit_amx() -> None:
    """Asks Linux for the AMX tile registers, as a process must (Documentation/arch/x86/xstate.rst).

    vLLM 0.32's CPU attention uses them without asking, and dies of SIGILL where nothing else asked before it.
    """
    import torch

    ask = getattr(torch.cpu, "_init_amx", None)
    if ask is not None:
        ask()


def _tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)


def _tokenize(tokenizer: Any, job: dict[str, Any]) -> tuple[list[list[int]], bool]:
    """Token ids of every prompt, and whether the template's special tokens were there to wrap it."""
    before, after = job["before"], job["after"]
    vocabulary = tokenizer.get_vocab() if before or after else {}
    if not (before or after) or any(token not in vocabulary for token in (*before, *after)):
        return [list(tokenizer(text)["input_ids"]) for text in job["prompts"]], False
    head, tail = [vocabulary[t] for t in before], [vocabulary[t] for t in after]
    bodies = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in job["prompts"]]
    return [[*head, *body, *tail] for body in bodies], True


def _arguments(job: dict[str, Any], longest: int) -> dict[str, Any]:
    """What vLLM is started with. `max_model_len` is no longer than the prompts need, so that a KV cache always fits."""
    needed = -(-(longest + job["max_tokens"]) // _BLOCK) * _BLOCK
    length = min(needed, job["max_positions"]) if job["max_positions"] else needed
    arguments: dict[str, Any] = {
        "model": job["model"],
        "dtype": job["dtype"],
        "max_model_len": length,
        "max_num_seqs": job["max_num_seqs"],
        "max_logprobs": job["max_logprobs"],
        "seed": 0,
        "trust_remote_code": False,
        "enforce_eager": job["eager"],
        "disable_log_stats": False,
    }
    if job["prefix_caching"] is not None:
        arguments["enable_prefix_caching"] = job["prefix_caching"]
    if job["chunked_prefill"] is not None:
        arguments["enable_chunked_prefill"] = job["chunked_prefill"]
    if job["chunked_prefill"] is False:
        arguments["max_num_batched_tokens"] = max(length, 2048)
    if job["device"] != "cpu":
        arguments["gpu_memory_utilization"] = 0.85
    if job["device"] == "npu":
        # Without chunked prefill and prefix caching Ascend leaves 16, which its attention refuses (field-notes 10).
        arguments["block_size"] = _BLOCK
    return arguments


def together(order: Sequence[int], at_once: int) -> list[list[int]]:
    """The prompts of `order` in as few batches as the KV cache has room for.

    A request that finds no room is preempted and prefilled again with its own answer, which a prefix-LM
    does not survive (field-notes 7) and which no measurement of speed wants.
    """
    return [list(order[start : start + at_once]) for start in range(0, len(order), at_once)]


def _concurrency(llm: Any) -> int:
    """How many requests of the full `max_model_len` the KV cache holds at once, at least 1."""
    config = llm.llm_engine.vllm_config
    cache, length = config.cache_config, config.model_config.max_model_len
    known = getattr(cache, "kv_cache_max_concurrency", None)
    return max(1, int(known or (cache.num_gpu_blocks or 0) * cache.block_size / length))


def _end_tokens(llm: Any, tokenizer: Any) -> list[int]:
    """Every id that may end an answer by itself: the tokenizer's, the config's, the generation config's."""
    config = llm.llm_engine.vllm_config.model_config
    stated = (
        tokenizer.eos_token_id,
        getattr(config.hf_text_config, "eos_token_id", None),
        config.try_get_generation_config().get("eos_token_id"),
    )
    return sorted({n for one in stated for n in (one if isinstance(one, list) else [one]) if n is not None})


def _answer(
    llm: Any, sampling: Any, prompts: list[list[int]], groups: list[list[int]], cold: bool, max_tokens: int
) -> dict[str, Any]:
    """One pass: group after group of prompts, each group as one batch, from a cold or the warm prefix cache."""
    # Two candidates beside the chosen token are its lead over the runner-up, whichever of them it is.
    params = sampling(temperature=0.0, max_tokens=max_tokens, logprobs=2, detokenize=False)
    if cold:
        llm.reset_prefix_cache()
    started = time.perf_counter()
    answers = []
    for group in groups:
        requests = [{"prompt_token_ids": prompts[n]} for n in group]
        for n, output in zip(group, llm.generate(requests, params, use_tqdm=False), strict=True):
            answers.append({"prompt": n, **_transcript(output)})
    return {"answers": answers, "seconds": time.perf_counter() - started}


def _transcript(output: Any) -> dict[str, Any]:
    completion = output.outputs[0]
    tokens = list(completion.token_ids)
    chosen, lead = [], []
    for token, candidates in zip(tokens, completion.logprobs, strict=True):
        own = candidates[token].logprob
        others = [entry.logprob for other, entry in candidates.items() if other != token]
        chosen.append(own)
        lead.append(own - max(others))
    metrics = output.metrics
    first = getattr(metrics, "first_token_latency", None)
    decode = None
    if len(tokens) > 1 and metrics is not None and hasattr(metrics, "last_token_ts"):
        decode = (metrics.last_token_ts - metrics.first_token_ts) / (len(tokens) - 1)
    return {
        "tokens": tokens,
        "logprobs": chosen,
        "lead": lead,
        "finish": completion.finish_reason,
        "ttft": first,
        "tpot": decode,
    }


def _measure(
    llm: Any, sampling: Any, prompts: list[list[int]], order: list[int], job: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Greedy answers once more, with the log-probabilities of the whole vocabulary at every position.

    Writes `p<n>.logprobs` float32 [positions, vocabulary]; where the engine gives only its top k,
    `p<n>.logprobs` [positions, k] and `p<n>.ids` int32 [positions, k]. A large vocabulary gets fewer
    positions, not fewer entries.
    """
    import numpy as np
    from safetensors.numpy import save_file

    vocabulary = int(llm.llm_engine.vllm_config.model_config.get_vocab_size())
    positions = max(4, min(job["max_tokens"], job["entries"] // (vocabulary * len(order))))
    at_once = max(1, min(_concurrency(llm), _ENTRIES_AT_ONCE // (vocabulary * positions)))
    arrays: dict[str, NDArray[np.generic]] = {}
    tokens: list[list[Any]] = []
    k = -1
    for start in range(0, len(order), at_once):
        group = order[start : start + at_once]
        requests = [{"prompt_token_ids": prompts[n]} for n in group]
        llm.reset_prefix_cache()
        try:
            outputs = llm.generate(requests, _full(sampling, positions, k), use_tqdm=False)
        except Exception:
            # vLLM 0.32 refuses with VLLMValidationError, earlier ones with ValueError.
            if start or k != -1:
                raise
            k = job["max_logprobs"] if job["max_logprobs"] > 0 else _TOP_K_FALLBACK
            outputs = llm.generate(requests, _full(sampling, positions, k), use_tqdm=False)
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
    return {"tokens": tokens, "vocabulary": vocabulary, "partial": k != -1, "positions": positions}


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


def _peak_bytes(device: str) -> int:
    """Peak memory: of this process on a CPU, of the allocator on an accelerator."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    import torch

    return int(getattr(torch, device).max_memory_allocated())


if __name__ == "__main__":
    serve(work)
