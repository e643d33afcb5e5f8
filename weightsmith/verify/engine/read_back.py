"""Reads back what a running vLLM really does: asked-for settings are claims, and engines override them."""

from __future__ import annotations

import json
import platform
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from weightsmith.installed import versions
from weightsmith.verify.engine.engine_job import EngineSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm import LLM
    from vllm.v1.worker.utils import AttentionGroup

    from weightsmith.verify.engine.engine_job import Setting

# Field of EngineSettings → where vLLM 0.18 to 0.32 keeps it. What a version lacks reads None.
_CONFIG = {
    "dtype": "model_config.dtype",
    "architecture": "model_config.architecture",
    "max_model_len": "model_config.max_model_len",
    "quantization": "model_config.quantization",
    "eager": "model_config.enforce_eager",
    "block_size": "cache_config.block_size",
    "kv_cache_dtype": "cache_config.cache_dtype",
    "kv_blocks": "cache_config.num_gpu_blocks",
    "prefix_caching": "cache_config.enable_prefix_caching",
    "chunked_prefill": "scheduler_config.enable_chunked_prefill",
    "max_num_batched_tokens": "scheduler_config.max_num_batched_tokens",
    "max_num_seqs": "scheduler_config.max_num_seqs",
    "async_scheduling": "scheduler_config.async_scheduling",
    "compilation": "compilation_config.mode",
    "graph_mode": "compilation_config.cudagraph_mode",
    "tensor_parallel": "parallel_config.tensor_parallel_size",
    "device_type": "device_config.device_type",
}
_COUNTERS = {
    "preemptions": "vllm:num_preemptions",
    "prefix_cache_queries": "vllm:prefix_cache_queries",
    "prefix_cache_hits": "vllm:prefix_cache_hits",
}


def read_back(llm: LLM) -> EngineSettings:
    """Effective settings, attention backends, counters and versions. Raises NotARecord for a setting of a new type."""
    config = llm.llm_engine.vllm_config
    return EngineSettings.from_json(
        {
            **{name: _plain(_get(config, path)) for name, path in _CONFIG.items()},
            "attention_backends": _attention_backends(llm),
            **_counters(llm),
            "versions": _versions(),
        }
    )


def _get(thing: object, path: str) -> object:
    """The attribute at a dotted path, None where any part of it is missing."""
    try:
        return attrgetter(path)(thing)
    except AttributeError:
        return None


def _plain(value: object) -> Setting:
    """A setting as JSON has it: a number or string, also of an enum that is one; other enums and dtypes by name."""
    if value is None or isinstance(value, bool | int | float | str):
        plain: Setting = json.loads(json.dumps(value))  # an IntEnum is no int until it is written
        return plain
    name = getattr(value, "name", None)
    return str(name) if isinstance(name, str) else str(value).removeprefix("torch.")


def _attention_backends(llm: LLM) -> list[str]:
    """Names of the attention backends in use; reachable because the engine core runs in this process."""
    driver = _get(llm, "llm_engine.engine_core.engine_core.model_executor.driver_worker")
    found = _get(getattr(driver, "worker", driver), "model_runner.attn_groups") or ()
    groups = cast("Iterable[Iterable[AttentionGroup]]", found)
    return sorted({str(group.backend.get_name()) for layer in groups for group in layer})


def _counters(llm: LLM) -> dict[str, int | float | None]:
    """Sums of the engine's own counters; None where the version has no reader for them."""
    try:
        metrics = llm.get_metrics()
    except (AttributeError, AssertionError):
        return dict.fromkeys(_COUNTERS)
    totals: dict[str, int | float | None] = {}
    for field, name in _COUNTERS.items():
        values = [metric.value for metric in metrics if metric.name == name]
        totals[field] = sum(values) if values else None
    return totals


def _versions() -> dict[str, str]:
    import torch

    found = {**versions(), "python": platform.python_version()}
    # torch_npu sets it to the CANN that it runs on, a CUDA build of torch leaves it out.
    cann = getattr(torch.version, "cann", None)
    return found | ({"CANN": str(cann)} if cann else {})
