"""Proves on the user's own machine, in a minute and without a model of theirs, that HRM-Text runs right there."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

from weightsmith.errors import MissingDevice
from weightsmith.formats import significant
from weightsmith.guide import guide
from weightsmith.process import child
from weightsmith.process.scratch import scratch_folder
from weightsmith.process.signals import unwound_by_signals
from weightsmith.records import NotARecord
from weightsmith.verify.checks import Check
from weightsmith.verify.engine import device as devices
from weightsmith.verify.engine import engine
from weightsmith.verify.result import EngineFacts, ModelFacts, VerifyResult
from weightsmith.verify.selftest import tiny_model as tiny
from weightsmith.verify.selftest.selftest_job import LOGPROBS, SelfTestAnswer, SelfTestJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.verify.checks import Verdict
    from weightsmith.verify.engine.device import Asked, Device
    from weightsmith.verify.inputs.kinds import Mask

Phase = Literal["prefill", "decode"]

_MODULE = "weightsmith.verify.selftest.worker"
_TIMEOUT_SECONDS = 900.0

# Lengths around the places where kernels take another path: short, a CPU kernel's 32, an Ascend block's 128.
_PROMPT_LENGTHS = (5, 31, 32, 33, 64, 127, 128, 129, 300)
_TOKENS = 8

# RMS over the vocabulary of Δ log p at the worst position. Measured on a CPU in bfloat16 against the float64 forward
# pass: 0.03 to 0.06 with the right mask, 0.26 and more with the wrong one.
RIGHT_WITHIN = 0.12
WRONG_BEYOND = 0.2
# Outputs of order 1 in bfloat16, whose steps there are 0.0078.
OPERATOR_WITHIN = 0.05


def self_test(asked: Asked = "auto", progress: child.Stage | None = None) -> VerifyResult:
    """Runs the tiny model in the engine and judges it by its own forward pass, right and with a causal prompt.

    Raises MissingDevice or MissingPackage as `verify` does.
    """
    from safetensors.numpy import load_file

    device = devices.find(asked)
    devices.need_served(device, "hrm_text")
    with unwound_by_signals(), scratch_folder("weightsmith-selftest-") as folder:
        model = tiny.make()
        tiny.save(model, folder / "model")
        job = SelfTestJob(
            str(folder / "model"), device.kind, True, prompts(), _TOKENS, tiny.VOCABULARY
        ).to_json()
        variables = engine.environment(device.kind, deterministic=True)
        outcome = child.run(_MODULE, folder / "run", job, variables, _TIMEOUT_SECONDS, progress)
        answer = _answer(outcome)
        if isinstance(answer, child.Failure):
            checks: tuple[Check, ...] = (_engine_failure(device, answer),)
        else:
            logprobs = load_file(folder / "run" / LOGPROBS)
            checks = (*operator_checks(answer.operators), *_model_checks(model, answer, logprobs))
    return VerifyResult(
        model=ModelFacts("self-test", "prefix-lm"),
        device=device,
        engine=None if isinstance(answer, child.Failure) else EngineFacts(answer.settings),
        checks=checks,
        seconds={"engine": outcome.seconds},
        command="verify-on-npu --self-test",
    )


def prompts() -> tuple[tuple[int, ...], ...]:
    """Token ids, the same everywhere."""
    chosen = random.Random(0)
    return tuple(
        tuple(chosen.randrange(tiny.VOCABULARY) for _ in range(length)) for length in _PROMPT_LENGTHS
    )


def _answer(outcome: child.Outcome) -> SelfTestAnswer | child.Failure:
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "unknown")
    try:
        return SelfTestAnswer.from_json(outcome.result)
    except NotARecord as error:
        return child.Failure(f"partial output ({error})", "reading its answers")


def _engine_failure(device: Device, failure: child.Failure) -> Check:
    """The failed check. Raises MissingDevice when the engine's installation itself is broken."""
    if failure.unusable:
        way_out = f"mend the engine's installation ({guide('engines.md')})"
        raise MissingDevice(device.name, failure.sentence(), way_out)
    return Check("engine", "fail", None, None, failure.sentence())


def operator_checks(errors: Mapping[str, float]) -> tuple[Check, ...]:
    """One check per question to the operators; NaN fails."""
    return tuple(
        Check(
            f"operator: {name}",
            "pass" if error <= OPERATOR_WITHIN else "fail",
            error,
            OPERATOR_WITHIN,
            f"largest difference from attention in float32 is {significant(error, 2)}",
        )
        for name, error in errors.items()
    )


def _model_checks(
    model: tiny.TinyModel, answer: SelfTestAnswer, logprobs: Mapping[str, tiny.Array]
) -> tuple[Check, ...]:
    distances: dict[tuple[Mask, Phase], list[float]] = {}
    masks: tuple[Mask, ...] = ("prefix", "causal")
    for n, (prompt, tokens) in enumerate(zip(prompts(), answer.tokens, strict=True)):
        for mask in masks:
            right = tiny.log_probabilities(model, prompt, tokens, mask)
            away = ((logprobs[f"p{n}"] - right) ** 2).mean(axis=1) ** 0.5
            distances.setdefault((mask, "prefill"), []).append(float(away[0]))
            distances.setdefault((mask, "decode"), []).append(float(away[1:].max()))
    return (*parity_checks(distances), _settings_check(answer))


def parity_checks(distances: Mapping[tuple[Mask, Phase], Sequence[float]]) -> tuple[Check, ...]:
    """From the largest RMS Δ log p of every prompt, by mask of the reference and by phase."""
    checks: list[Check] = []
    phases: tuple[Phase, ...] = ("prefill", "decode")
    for phase in phases:
        # Not max(): NaN would hide behind an ordinary number there.
        right = distances["prefix", phase]
        worst = max(right, key=lambda away: float("inf") if away != away else away)
        good = all(away <= RIGHT_WITHIN for away in right)
        detail = f"largest RMS Δ log p over {len(right)} prompts from the model's own forward pass"
        checks.append(Check(f"{phase} parity", "pass" if good else "fail", worst, RIGHT_WITHIN, detail))
    wrong = min(distances["causal", "prefill"])
    detail = f"the nearest prompt is {significant(wrong, 2)} from a causal prefill, which must not look right"
    verdict: Verdict = (
        "pass" if wrong >= WRONG_BEYOND else "inconclusive" if checks[0].verdict == "pass" else "fail"
    )
    return (*checks, Check("control: causal prefill", verdict, wrong, WRONG_BEYOND, detail))


def _settings_check(answer: SelfTestAnswer) -> Check:
    settings = answer.settings
    forbidden = {
        "chunked_prefill": settings.chunked_prefill,
        "prefix_caching": settings.prefix_caching,
        "preemptions": settings.preemptions,
    }
    wrong = [name for name, value in forbidden.items() if value]
    detail = f"served by {answer.served_by}; " + (f"{', '.join(wrong)} on" if wrong else "all as it must be")
    return Check("engine settings", "fail" if wrong else "pass", ", ".join(wrong) or None, None, detail)
