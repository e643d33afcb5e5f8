"""Run inside each of vLLM's workers, which are processes of their own where the model is divided among devices."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.verify.engine.int8_products import int8_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm.v1.worker.utils import AttentionGroup
    from vllm.v1.worker.worker_base import WorkerBase


@dataclass(frozen=True, slots=True)
class Seen:
    """What one worker sees of itself.

    model_class: that it really loaded, with its module.
    attention_backends: by name.
    peak_bytes: the most memory it has used: the process's own on a CPU, the allocator's on an accelerator.
    int8_error: how far a CPU's int8 products are off, relative; None where the model needs none.
    """

    model_class: str
    attention_backends: tuple[str, ...]
    peak_bytes: int
    int8_error: float | None


def look(worker: WorkerBase) -> Seen:
    """What this worker sees of itself. vLLM calls it with the worker (`collective_rpc`)."""
    runner = worker.model_runner
    groups: Iterable[Iterable[AttentionGroup]] = getattr(runner, "attn_groups", None) or ()
    device, model = str(worker.device_config.device_type), runner.get_model()
    return Seen(
        f"{type(model).__module__}.{type(model).__qualname__}",
        tuple(sorted({str(group.backend.get_name()) for layer in groups for group in layer})),
        peak_bytes(device),
        int8_error(model) if device == "cpu" else None,
    )


def peak_bytes(device: str) -> int:
    """The most memory that this process has used: of its own on a CPU, of the allocator on an accelerator."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    import torch

    return int(getattr(torch, device).max_memory_allocated())
