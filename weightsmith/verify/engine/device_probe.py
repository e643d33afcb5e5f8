"""Run as a child: imports torch and torch_npu where that may die, and tells what they see."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from weightsmith.process.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def probe(job: dict[str, Any], folder: Path, stage: Callable[[str], None]) -> dict[str, Any]:
    """Counts and names of the accelerators that the packages named in `job["backends"]` can reach."""
    stage("importing torch")
    import torch

    seen: dict[str, Any] = {"torch": torch.__version__}
    for backend in job["backends"]:
        stage(f"asking torch for {backend} devices")
        seen[backend] = _ask(torch, backend)
    return seen


def _ask(torch: Any, backend: str) -> dict[str, Any]:
    if backend == "npu":
        try:
            importlib.import_module("torch_npu")
        except Exception as error:
            return {"error": f"import torch_npu: {type(error).__name__}: {error}"}
    module = getattr(torch, backend)
    try:
        count = int(module.device_count())
        names = [str(module.get_device_name(n)) for n in range(count)]
        memory = [int(module.get_device_properties(n).total_memory) for n in range(count)]
        return {"available": bool(module.is_available()), "count": count, "names": names, "memory": memory}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    serve(probe)
