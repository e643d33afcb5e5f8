"""Chooses the attention backend that lets whole prompts see themselves in both directions, per platform."""

from __future__ import annotations

from functools import cache
from typing import Any


def prefix_backend(head_size: int, dtype: Any, kv_cache_dtype: str) -> type[Any]:
    """The platform's own decoder backend, made bidirectional over whole prompts.

    Decided by the backend that vLLM would use, not by the device's name. Raises ValueError where nobody has
    shown how its kernels can be made right.
    """
    from vllm.v1.attention.selector import get_attn_backend

    return _prefixed(get_attn_backend(head_size, dtype, kv_cache_dtype))


@cache
def _prefixed(stock: type[Any]) -> type[Any]:
    """One class per stock backend: vLLM groups layers by their backend class and builds metadata once per group."""
    if stock.__module__.startswith("vllm_ascend."):
        from weightsmith.vllm_plugin.ascend_attention import ascend_prefix_backend

        return ascend_prefix_backend(stock)
    if stock.__name__ == "CPUAttentionBackend":
        from weightsmith.vllm_plugin.cpu_attention import cpu_prefix_backend

        return cpu_prefix_backend(stock)
    raise ValueError(
        f"HRM-Text: weightsmith's adapter has no bidirectional prefill for {stock.__module__}.{stock.__name__}; "
        "on this platform use vLLM 0.24 or newer, which has a class of its own (WEIGHTSMITH_HRM_TEXT=native)"
    )
