"""Run as a child, one question each: imports what may die, and prints one line of JSON."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from weightsmith.machine.facts import LIBRARIES


def libraries() -> dict[str, Any]:
    import ctypes

    return {name: _loaded(ctypes.CDLL, name) for name in LIBRARIES}


def _loaded(load: Any, name: str) -> str | None:
    try:
        load(name)
    except OSError as error:
        return str(error)
    return None


def torch() -> dict[str, Any]:
    return {"version": importlib.import_module("torch").__version__}


def torch_npu() -> dict[str, Any]:
    importlib.import_module("torch")
    package = importlib.import_module("torch_npu")
    npu = package.npu
    count = int(npu.device_count())
    names = [str(npu.get_device_name(number)) for number in range(count)]
    return {
        "version": package.__version__,
        "available": bool(npu.is_available()),
        "count": count,
        "names": names,
    }


def vllm() -> dict[str, Any]:
    return {"version": importlib.import_module("vllm").__version__}


def vllm_ascend() -> dict[str, Any]:
    importlib.import_module("vllm_ascend")
    from vllm.platforms import current_platform

    return {"platform": type(current_platform).__name__}


_QUESTIONS = {f.__name__: f for f in (libraries, torch, torch_npu, vllm, vllm_ascend)}


def main() -> None:
    try:
        told = _QUESTIONS[sys.argv[1]]()
    except Exception as error:
        told = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
