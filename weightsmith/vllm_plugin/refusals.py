"""What HRM-Text cannot run with, each with the reason: questions to an engine configuration, no vLLM imported."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

# The scheduler that keeps preemption out; `settings` asks for it and `check` insists on it.
SCHEDULER = "weightsmith.vllm_plugin.scheduler.WholePromptScheduler"


def unsupported(config: Any, device_310p: bool) -> list[str]:
    """Why this configuration cannot be served whatever its settings; empty when it can.

    config: a VllmConfig, or anything with the same attributes.
    """
    reasons = []
    if _get(config, "parallel_config.pipeline_parallel_size", 1) > 1:
        reasons.append(
            "pipeline parallelism: both stacks run in every recurrence step, so no stage ever owns a "
            "consecutive part of the model; use tensor parallelism"
        )
    if _get(config, "speculative_config", None) is not None:
        reasons.append(
            "speculative decoding: draft tokens arrive several at a time like a prompt and would see each other "
            "in both directions"
        )
    for size in ("decode_context_parallel_size", "prefill_context_parallel_size"):
        if _get(config, f"parallel_config.{size}", 1) > 1:
            reasons.append(f"context parallelism ({size}): its kernels split the prompt under a causal mask")
    if device_310p:
        reasons.append("the Ascend 310P: its attention kernels take no mask but the causal one")
    return reasons


def corrupting(config: Any) -> list[str]:
    """Effective settings that would give wrong answers without any error; empty when all are safe."""
    reasons = []
    if _get(config, "scheduler_config.enable_chunked_prefill", False):
        reasons.append("chunked prefill is on: a chunk is computed without seeing the rest of its prompt")
    if _get(config, "cache_config.enable_prefix_caching", False):
        reasons.append(
            "prefix caching is on: a cached prefix was computed with another prompt's end in sight"
        )
    tokens = _get(config, "scheduler_config.max_num_batched_tokens", None)
    length = _get(config, "model_config.max_model_len", None)
    if tokens is not None and length is not None and tokens < length:
        reasons.append(
            f"max_num_batched_tokens {tokens} < max_model_len {length}: a prompt may not fit whole"
        )
    if _get(config, "scheduler_config.scheduler_cls", None) != SCHEDULER:
        reasons.append(
            f"the scheduler is {_get(config, 'scheduler_config.scheduler_cls', None)}: a preempted request is "
            "prefilled again with its own answer as part of the prompt, seen in both directions"
        )
    mode = _get(config, "compilation_config.cudagraph_mode", None)
    if mode is not None and mode.mixed_mode().name == "FULL":
        reasons.append("cudagraph_mode FULL captures prefill with a causal mask; use FULL_DECODE_ONLY")
    return reasons


def _get(thing: Any, path: str, default: Any) -> Any:
    """Attribute by dotted path; what a version of vLLM does not have, or has as None on the way, is `default`."""
    try:
        return attrgetter(path)(thing)
    except AttributeError:
        return default
