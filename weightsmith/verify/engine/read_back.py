"""Reads back what a running vLLM really does: asked-for settings are claims, and engines override them."""

from __future__ import annotations

import json
import platform
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from weightsmith.installed import versions
from weightsmith.verify.engine import in_worker
from weightsmith.verify.engine.engine_job import EngineSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm import LLM
    from vllm.v1.executor import Executor

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.verify.engine.engine_job import Setting
    from weightsmith.verify.engine.in_worker import Seen

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
    "pipeline_parallel": "parallel_config.pipeline_parallel_size",
    "data_parallel": "parallel_config.data_parallel_size",
    "expert_parallel": "parallel_config.enable_expert_parallel",
    "device_type": "device_config.device_type",
}
_COUNTERS = {
    "preemptions": "vllm:num_preemptions",
    "prefix_cache_queries": "vllm:prefix_cache_queries",
    "prefix_cache_hits": "vllm:prefix_cache_hits",
    "drafted": "vllm:spec_decode_num_draft_tokens",
    "accepted": "vllm:spec_decode_num_accepted_tokens",
}


def read_back(llm: LLM, workers: Sequence[Seen] | None = None) -> EngineSettings:
    """Effective settings, what the workers say, counters and versions. Raises NotARecord for a setting of a new type.

    workers: as `workers` gives them; None asks them.
    """
    config = llm.llm_engine.vllm_config
    seen = workers_of(llm) if workers is None else workers
    read: dict[str, Json] = {
        **{name: _plain(_get(config, path)) for name, path in _CONFIG.items()},
        "graph_sizes": _graph_sizes(config),
        "speculative": _speculative(config),
        "additional": _additional(config),
        "attention_backends": sorted({backend for one in seen for backend in one.attention_backends}),
        "int8_error": max((one.int8_error for one in seen if one.int8_error is not None), default=None),
        "model_class": ", ".join(sorted({one.model_class for one in seen})) or None,
        **_counters(llm),
        "versions": cast("JsonObject", _versions()),
    }
    return EngineSettings.from_json(read)


def workers_of(llm: LLM) -> tuple[Seen, ...]:
    """What each of the engine's workers sees; none where the engine's core is in a process that cannot be asked."""
    executor = cast("Executor | None", _get(llm, "llm_engine.engine_core.engine_core.model_executor"))
    return () if executor is None else tuple(executor.collective_rpc(in_worker.look))


def _graph_sizes(config: object) -> list[Json]:
    sizes = _get(config, "compilation_config.cudagraph_capture_sizes")
    return [int(size) for size in sizes] if isinstance(sizes, list | tuple) else []


def _speculative(config: object) -> str | None:
    method = _get(config, "speculative_config.method")
    return (
        None
        if method is None
        else f"{method}, {_get(config, 'speculative_config.num_speculative_tokens')} tokens"
    )


def _additional(config: object) -> str | None:
    found = _get(config, "additional_config")
    return json.dumps(found, default=str, sort_keys=True) if found else None


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
