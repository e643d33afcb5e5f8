"""Run as a child, one question each: imports what may die, asks what may hang, and tells what it found."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from typing import TYPE_CHECKING

from weightsmith.process.program import say
from weightsmith.process.serving import serve_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weightsmith.json_value import Json, JsonObject

# Library -> the layer that it belongs to.
LIBRARIES = {
    "libascend_hal.so": "driver",
    "libascendcl.so": "cann",
    "libhccl.so": "cann",
    "libge_runner.so": "cann",
    "libgraph.so": "cann",
    "libacl_op_compiler.so": "cann",
    "libopapi.so": "cann",
    "libatb.so": "nnal",
}
# What vLLM imports on its way, whether vllm-ascend needs it or not.
GUESTS = ("torchvision", "torchcodec", "triton")
_LONGEST = 600


def libraries() -> JsonObject:
    """Name → what the real loader says, None where it loads."""
    import ctypes

    return {name: _complaint(lambda name=name: ctypes.CDLL(name)) for name in LIBRARIES}  # type: ignore[misc]


def npu_smi() -> JsonObject:
    """Its table, and what it calls the board where the table does not tell the chip."""
    program = shutil.which("npu-smi") or shutil.which(
        "npu-smi", path="/usr/local/sbin:/usr/local/bin:/usr/sbin"
    )
    if program is None:
        return {}
    from weightsmith.machine.reading.npu_smi import NAMELESS, parse

    table = say([program, "info"]).text
    first = next(iter(parse(program, table).chips), None)
    board = ""
    if first is not None and first.name == NAMELESS:
        one = ["-i", str(first.npu), "-c", str(first.number)]
        board = say([program, "info", "-t", "board", *one]).text
    return {"program": program, "info": table, "board": board}


def torch() -> JsonObject:
    return {"version": str(importlib.import_module("torch").__version__)}


def torch_npu() -> JsonObject:
    """Counts the chips: here the driver is asked for the first time."""
    importlib.import_module("torch")
    package = importlib.import_module("torch_npu")
    count = int(package.npu.device_count())
    name = str(package.npu.get_device_name(0)) if count else None
    return {"version": str(package.__version__), "count": str(count), "name": name}


def operator() -> JsonObject:
    """Adds two vectors on the first chip and brings the sum home: 16 ones twice make 32."""
    torch = importlib.import_module("torch")
    npu = importlib.import_module("torch_npu").npu
    if not npu.device_count():
        return {"sum": None}
    npu.set_device(0)
    ones = torch.ones(16, device="npu:0")
    return {"sum": str(float((ones + ones).sum().item()))}


def vllm() -> JsonObject:
    """Its version, and the platform that it chooses here."""
    version = importlib.import_module("vllm").__version__
    platform = importlib.import_module("vllm.platforms").current_platform
    return {
        "version": str(version),
        "platform": type(platform).__name__,
        "device": str(getattr(platform, "device_type", "") or ""),
    }


def vllm_ascend() -> JsonObject:
    """Importing it is light. Its compiled part is another matter, and vLLM goes without it in silence."""
    importlib.import_module("vllm_ascend")
    for needed in ("torch", "torch_npu"):
        importlib.import_module(needed)
    return {"compiled": _complaint(lambda: importlib.import_module("vllm_ascend.vllm_ascend_C"))}


def guests() -> JsonObject:
    """Name → why it cannot be imported; left out where it is not there."""
    importlib.import_module("torch")
    found: dict[str, Json] = {}
    for name in GUESTS:
        if importlib.util.find_spec(name) is not None:
            found[name] = _complaint(lambda name=name: _whole(name))  # type: ignore[misc]
    return found


def _whole(name: str) -> None:
    module = importlib.import_module(name)
    if name == "triton":
        module.Config  # noqa: B018  what is left of a folder that two packages shared has no such name
        if importlib.util.find_spec("triton.backends.ascend") is not None:
            importlib.import_module("triton.backends.ascend")


def _complaint(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except Exception as error:  # a broken installation raises whatever it likes
        return _in_words(error)
    return None


def _in_words(error: BaseException) -> str:
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    cause = error.__cause__
    return f"{words[:_LONGEST]}{f' [{_in_words(cause)}]' if cause else ''}"


def _through(error: BaseException) -> Iterator[str]:
    """The packages whose code the exception passed through, its causes' first frames last."""
    step = error.__traceback__
    while step is not None:
        package = str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in {"importlib", "weightsmith", "", "__main__", "runpy"}:
            yield package
        step = step.tb_next
    if error.__cause__ is not None:
        yield from _through(error.__cause__)


QUESTIONS: dict[str, Callable[[], JsonObject]] = {
    question.__name__: question
    for question in (libraries, npu_smi, torch, torch_npu, operator, vllm, vllm_ascend, guests)
}


def answer(job: dict[str, Json]) -> JsonObject:
    """job["question"]: one of QUESTIONS. What its import raised is an answer: {"error": why, "through": packages}."""
    try:
        return {"told": QUESTIONS[str(job["question"])]()}
    except Exception as error:  # a broken installation raises whatever it likes
        return {"error": _in_words(error), "through": list(dict.fromkeys(_through(error)))}


if __name__ == "__main__":
    serve_answer(answer)
