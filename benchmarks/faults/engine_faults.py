"""Faults of the engine itself: it dies, hangs, answers in part, or answers nonsense."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, NoReturn

from benchmarks.faults.case import Fault
from benchmarks.faults.hooks import answers, logits, once_loaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.faults.case import Model
    from benchmarks.faults.hooks import Patch

# Long enough for an engine to be built and to begin to answer on a busy machine, short enough to wait for.
_TIMEOUT = 75.0


def _raises(model: Any) -> NoReturn:
    raise RuntimeError("aclrtMalloc failed: out of device memory")


def _dies(number: signal.Signals) -> Callable[[Any], Any]:
    def die(thing: Any) -> Any:
        os.kill(os.getpid(), number)

    return die


def _later(calls: int, deed: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Nothing for so many calls, then the deed at every further one."""
    left = calls

    def change(thing: Any) -> Any:
        nonlocal left
        left -= 1
        return thing if left >= 0 else deed(thing)

    return change


def _hang(thing: Any) -> Any:
    time.sleep(3600)
    return thing


def _shorten(reason: str) -> Callable[[list[Any]], list[Any]]:
    """Every answer ends after two tokens. reason: what the engine gives for it."""

    def change(found: list[Any]) -> list[Any]:
        for output in found:
            completion = output.outputs[0]
            completion.token_ids = completion.token_ids[:2]
            completion.logprobs = completion.logprobs[:2]
            completion.finish_reason = reason
        return found

    return change


def _nan(values: Any) -> Any:
    values[0] = float("nan")
    return values


def _one_token(values: Any) -> Any:
    """Token 0, an exclamation mark, whatever was asked (vllm-ascend #5144)."""
    values.fill_(-20.0)
    values[..., 0] = 20.0
    return values


def _random(values: Any) -> Any:
    """Random logits that forget the model, from a fixed seed for every call."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(values.shape, generator=generator, dtype=torch.float32).to(values.dtype)


def _flat(values: Any) -> Any:
    return values * 0.01


def _ends_at_once(values: Any) -> Any:
    values[..., 256] = values.max() + 20
    return values


BREAKDOWNS: dict[str, Patch] = {
    "out of memory while loading": once_loaded(_raises),
    "killed while loading": once_loaded(_dies(signal.SIGKILL)),
    "crash in the middle": logits(_later(40, _dies(signal.SIGSEGV))),
    "hang in the middle": logits(_later(20, _hang)),
    "an answer is missing": answers(lambda found: found[:-1]),
    "requests aborted": answers(_shorten("abort")),
    "answers cut off, called full": answers(_shorten("length")),
    "answers cut off, called finished": answers(_shorten("stop")),
    "NaN in the logits": logits(_nan),
    "one token forever": logits(_one_token),
    "random tokens": logits(_random),
    "flat distributions": logits(_flat),
    "no answer at all": logits(_ends_at_once),
}


def _breakdown(patch: str, model: Model, names: str, engine_timeout: float | None = None) -> Fault:
    return Fault(
        patch,
        "engine",
        model,
        names,
        "verify-on-npu",
        "behaviour",
        patch=patch,
        engine_timeout=engine_timeout,
    )


ENGINE_FAULTS: tuple[Fault, ...] = (
    _breakdown("out of memory while loading", "fused", r"^engine: .*out of device memory while loading"),
    _breakdown("killed while loading", "hrm", r"^engine: killed by SIGKILL while loading"),
    _breakdown("crash in the middle", "fused", r"^engine: killed by SIGSEGV while answering"),
    _breakdown("hang in the middle", "hrm", r"^engine: no result within .* while answering", _TIMEOUT),
    _breakdown("an answer is missing", "fused", r"^engine: .*11 of 12 requests were answered"),
    _breakdown("requests aborted", "fused", r"^engine: partial output.* ends after 2 tokens: abort"),
    _breakdown(
        "answers cut off, called full", "hrm", r"^engine: partial output.* ends after 2 tokens: length"
    ),
    _breakdown("answers cut off, called finished", "hrm", r"^engine: partial output.* 2 tokens: stop"),
    _breakdown("NaN in the logits", "fused", r"^(finite|parity\.finite): "),
    _breakdown("one token forever", "fused", r"^(repetition|distinct): "),
    _breakdown("random tokens", "hrm", r"^(parity|distribution|distinct)"),
    _breakdown("flat distributions", "fused", r"^distribution: "),
    _breakdown("no answer at all", "fused", r"^readable: "),
)
