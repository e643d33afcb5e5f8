"""Run as a child, one question each: imports what may die, and tells what it found."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from weightsmith.machine.facts import LIBRARIES
from weightsmith.process.serving import serve_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.json_value import Json, JsonObject


def libraries() -> JsonObject:
    import ctypes

    return {name: _loaded(ctypes.CDLL, name) for name in LIBRARIES}


def _loaded(load: Callable[[str], object], name: str) -> str | None:
    try:
        load(name)
    except OSError as error:
        return str(error)
    return None


def torch() -> JsonObject:
    return {"version": importlib.import_module("torch").__version__}


def torch_npu() -> JsonObject:
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


def vllm() -> JsonObject:
    return {"version": importlib.import_module("vllm").__version__}


def vllm_ascend() -> JsonObject:
    importlib.import_module("vllm_ascend")
    from vllm.platforms import current_platform

    return {"platform": type(current_platform).__name__}


_QUESTIONS = {f.__name__: f for f in (libraries, torch, torch_npu, vllm, vllm_ascend)}


def answer(job: dict[str, Json]) -> JsonObject:
    """job["question"]: one of those above. What its import raised is an answer, {"error": why}."""
    try:
        return _QUESTIONS[str(job["question"])]()
    except Exception as error:  # a broken installation raises whatever it likes
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


if __name__ == "__main__":
    serve_answer(answer)
