"""Brings an engine's configuration into the one shape that a prefix-LM runs right in, or refuses it."""

from __future__ import annotations

import logging
from typing import Any

from vllm.model_executor.models.config import VerifyAndUpdateConfig

from weightsmith.vllm_plugin.refusals import SCHEDULER, corrupting, unsupported

_LOG = logging.getLogger("vllm.weightsmith")
# Ascend's paged attention takes no other block size (vllm_ascend, get_supported_kernel_block_sizes).
_ASCEND_BLOCK = 128


class PrefixLMSettings(VerifyAndUpdateConfig):
    """vLLM calls this while it completes its configuration, once, in the process that was asked to serve."""

    @staticmethod
    def verify_and_update_config(vllm_config: Any) -> None:
        refuse_unsupported(vllm_config)
        scheduler, cache = vllm_config.scheduler_config, vllm_config.cache_config
        scheduler.enable_chunked_prefill = False
        cache.enable_prefix_caching = False
        length = vllm_config.model_config.max_model_len
        scheduler.max_num_batched_tokens = max(scheduler.max_num_batched_tokens or 0, length)
        if scheduler.scheduler_cls not in (None, SCHEDULER):
            raise ValueError(
                f"HRM-Text needs its own scheduler and cannot run with {scheduler.scheduler_cls}"
            )
        scheduler.scheduler_cls = SCHEDULER
        # Our scheduler is a synchronous one; vLLM would otherwise choose by the device.
        scheduler.async_scheduling = False
        _decode_only_graphs(vllm_config.compilation_config)
        if _is_ascend() and cache.block_size != _ASCEND_BLOCK:
            # Without prefix caching and chunked prefill Ascend keeps vLLM's 16, which its kernels refuse.
            cache.block_size = _ASCEND_BLOCK
        _LOG.info(
            "HRM-Text attends to its prompt in both directions: chunked prefill, prefix caching, asynchronous "
            "scheduling and preemption are off, max_num_batched_tokens is %d",
            scheduler.max_num_batched_tokens,
        )


def refuse_unsupported(vllm_config: Any) -> None:
    """Raises ValueError with every reason why this configuration cannot be served."""
    reasons = unsupported(vllm_config, _is_310p())
    if reasons:
        raise ValueError("HRM-Text cannot run with " + "; nor with ".join(reasons))


def refuse_corrupting(vllm_config: Any) -> None:
    """Raises ValueError if something turned a setting back after us; called when the model is built."""
    refuse_unsupported(vllm_config)
    reasons = corrupting(vllm_config)
    if reasons:
        raise ValueError("HRM-Text would answer wrongly: " + "; ".join(reasons))


def _decode_only_graphs(compilation: Any) -> None:
    mode = getattr(compilation, "cudagraph_mode", None)
    if mode is not None and mode.mixed_mode().name == "FULL":
        compilation.cudagraph_mode = type(mode).FULL_DECODE_ONLY
        _LOG.info("HRM-Text's prefill is not captured: cudagraph_mode is FULL_DECODE_ONLY")


def _is_ascend() -> bool:
    from vllm.platforms import current_platform

    return type(current_platform).__module__.startswith("vllm_ascend")


def _is_310p() -> bool:
    if not _is_ascend():
        return False
    from vllm_ascend.utils import is_310p

    return bool(is_310p())
