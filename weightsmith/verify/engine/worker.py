"""Run as a child: starts vLLM once, lets it answer in several arrangements, and writes down what it said.

Logits never leave the engine; its log-probabilities of the whole vocabulary do (`max_logprobs=-1`).
"""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, Any

from weightsmith.process.serving import serve
from weightsmith.verify.engine.logprobs import concurrency, measure
from weightsmith.verify.engine.read_back import read_back

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.process.child import Stage

_BLOCK = 128


def work(job: dict[str, Any], folder: Path, stage: Stage) -> dict[str, Any]:
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
        kept = [n for n in run["order"] if fits[n]]
        groups = together(kept, concurrency(llm)) if run["together"] else [[n] for n in kept]
        passes[run["name"]] = _answer(llm, prompts, groups, run, job["max_tokens"], stage)
    asked = [n for n, fit in enumerate(fits) if fit] if job["entries"] else []
    measured = measure(llm, vllm.SamplingParams, prompts, asked, job, folder, stage)
    ended = time.perf_counter()
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
        "seconds": {
            "import": imported - started,
            "load": loaded - imported,
            "measuring": measured["seconds"],
            "after_load": ended - loaded,
        },
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
    llm: Any,
    prompts: list[list[int]],
    groups: list[list[int]],
    run: dict[str, Any],
    max_tokens: int,
    stage: Stage,
) -> dict[str, Any]:
    """One pass: group after group of prompts, each group as one batch, from a cold or the warm prefix cache."""
    from vllm import SamplingParams

    # Two candidates beside the chosen token are its lead over the runner-up, whichever of them it is.
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, logprobs=2, detokenize=False)
    if run["cold"]:
        llm.reset_prefix_cache()
    started = time.perf_counter()
    answers: list[dict[str, Any]] = []
    for group in groups:
        stage(f"answering: {run['name']}", len(answers), sum(map(len, groups)))
        requests = [{"prompt_token_ids": prompts[n]} for n in group]
        outputs = llm.generate(requests, params, use_tqdm=False)
        if len(outputs) != len(group):
            raise ValueError(f"{len(outputs)} of {len(group)} requests were answered")
        for n, output in zip(group, outputs, strict=True):
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


def _peak_bytes(device: str) -> int:
    """Peak memory: of this process on a CPU, of the allocator on an accelerator."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    import torch

    return int(getattr(torch, device).max_memory_allocated())


if __name__ == "__main__":
    serve(work)
