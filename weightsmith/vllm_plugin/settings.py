"""Brings an engine's configuration into the one shape that a prefix-LM runs right in, or refuses it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vllm.model_executor.models.config import VerifyAndUpdateConfig

from weightsmith.vllm_plugin.ascend_platform import on_310p, on_ascend
from weightsmith.vllm_plugin.refusals import SCHEDULER, corrupting, unsupported

if TYPE_CHECKING:
    from weightsmith.vllm_plugin.vllm_types import CompilationConfig, VllmConfig

_LOG = logging.getLogger("vllm.weightsmith")
# Ascend's paged attention takes no other block size (vllm_ascend, get_supported_kernel_block_sizes).
_ASCEND_BLOCK = 128


class PrefixLMSettings(VerifyAndUpdateConfig):
    """vLLM calls this while it completes its configuration, once, in the process that was asked to serve."""

    @staticmethod
    def verify_and_update_config(vllm_config: VllmConfig) -> None:
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
        _capture_decoding_only(vllm_config.compilation_config)
        if on_ascend() and cache.block_size != _ASCEND_BLOCK:
            # Without prefix caching and chunked prefill Ascend keeps vLLM's 16, which its kernels refuse.
            cache.block_size = _ASCEND_BLOCK
        _LOG.info(
            "HRM-Text attends to its prompt in both directions: chunked prefill, prefix caching, asynchronous "
            "scheduling and preemption are off, max_num_batched_tokens is %d",
            scheduler.max_num_batched_tokens,
        )


def refuse_unsupported(vllm_config: VllmConfig) -> None:
    """Raises ValueError with every reason why this configuration cannot be served."""
    reasons = unsupported(vllm_config, on_310p())
    if reasons:
        raise ValueError("HRM-Text cannot run with " + "; nor with ".join(reasons))


def refuse_corrupting(vllm_config: VllmConfig) -> None:
    """Raises ValueError if something turned a setting back after us; called when the model is built."""
    refuse_unsupported(vllm_config)
    reasons = corrupting(vllm_config)
    if reasons:
        raise ValueError("HRM-Text would answer wrongly: " + "; ".join(reasons))


def _capture_decoding_only(compilation: CompilationConfig) -> None:
    mode = getattr(compilation, "cudagraph_mode", None)
    if mode is not None and mode.mixed_mode().name == "FULL":
        compilation.cudagraph_mode = type(mode).FULL_DECODE_ONLY
        _LOG.info("HRM-Text's prefill is not captured: cudagraph_mode is FULL_DECODE_ONLY")
