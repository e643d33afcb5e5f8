"""Run as a child: imports torch and torch_npu where that may die, and tells which devices they see."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.engine.device import ProbeAnswer, ProbeJob, TorchDevices

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage


def work(job: JsonObject, folder: Path, stage: Stage) -> dict[str, Json]:
    """The child's door: JSON in, JSON out."""
    return probe(ProbeJob.from_json(job), stage).to_json()


def probe(job: ProbeJob, stage: Stage) -> ProbeAnswer:
    """Counts and names of the accelerators that torch's backends can reach."""
    stage("importing torch")
    import torch

    found: dict[str, TorchDevices] = {}
    for backend in job.backends:
        stage(f"asking torch for {backend} devices")
        found[backend] = _devices(torch, backend)
    return ProbeAnswer(str(torch.__version__), found)


def _devices(torch: ModuleType, backend: str) -> TorchDevices:
    if backend == "npu":
        try:
            importlib.import_module("torch_npu")
        except Exception as error:  # a broken CANN raises whatever it likes; all of it is the answer
            return TorchDevices(error=f"import torch_npu: {type(error).__name__}: {error}")
    module = getattr(torch, backend)
    try:
        count = int(module.device_count())
        return TorchDevices(
            available=bool(module.is_available()),
            count=count,
            names=tuple(str(module.get_device_name(n)) for n in range(count)),
            memory=tuple(int(module.get_device_properties(n).total_memory) for n in range(count)),
            free=_free(module, count),
        )
    except Exception as error:  # likewise: drivers raise more kinds than torch documents
        return TorchDevices(error=f"{type(error).__name__}: {error}")


def _free(module: ModuleType, count: int) -> tuple[int, ...]:
    """Free bytes of each device; nothing where the driver does not say, as on one that has no room to ask in."""
    try:
        return tuple(int(module.mem_get_info(n)[0]) for n in range(count))
    except Exception:  # likewise, and a device without this figure is a device
        return ()


if __name__ == "__main__":
    serve(work)
