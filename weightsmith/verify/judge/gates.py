"""The thresholds, each with its reason, in one place: data, not code."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit and why it lies where it lies. unit: for people."""

    name: str
    limit: float
    unit: str
    reason: str


GATES: tuple[Gate, ...] = (
    Gate(
        "facts",
        0.5,
        "share answered, of all or of those in one script",
        "below it nobody can tell a weak model from a broken run, so nothing is concluded",
    ),
    Gate(
        "looping",
        0.5,
        "share of answers",
        "a base model loops now and then in greedy decoding; '!!!!' faults loop nearly everywhere (vllm-ascend #5144)",
    ),
    Gate("garbage", 0.5, "share of answers", "half the answers unreadable is no matter of taste"),
    Gate(
        "alike",
        0.5,
        "share of answers",
        "different questions with one answer: the prompt does not reach the model",
    ),
    Gate(
        "foreign",
        0.5,
        "share of answers",
        "no sound model writes half its answers in a script that it was not asked in; Latin counts as known",
    ),
    Gate(
        "order",
        1.5,
        "nats a token",
        "sound models lie above 3, also those that were trained for a minute (make bench-signs)",
    ),
    Gate(
        "prompted",
        2.0,
        "nats a token, against the prompt that differs most",
        "sound models lie above 4; at 0 every prompt gets the same distributions (make bench-signs)",
    ),
    Gate(
        "context",
        0.05,
        "nats a token, against other places behind the same token",
        "without attention it is 0 but for rounding; a model that was trained for a minute has 0.1, others above 1 "
        "(make bench-signs)",
    ),
    Gate(
        "reading",
        0.8,
        "nats a token of human text, against another order",
        "sound models lie above 1.2, also those trained for a minute, word salad below 0.7 (make bench-signs)",
    ),
    Gate(
        "flatness",
        0.75,
        "mean entropy / log(vocabulary)",
        "untrained or wrongly masked models lie near 1, trained ones under 0.5 (HRM-Text's 'random' answers)",
    ),
    Gate(
        "flatness_excess",
        0.02,
        "mean entropy / log(vocabulary)",
        "a baseline excuses what it shows itself, up to what bf16 moves an entropy",
    ),
    Gate(
        "mass_error",
        1e-2,
        "|log Σ p|",
        "float32 sums of 150,000 terms stay under 1e-3; a wrong softmax or a truncated vocabulary does not",
    ),
    Gate(
        "repeat_delta",
        1e-4,
        "nats",
        "the same batch twice runs the same kernels on the same shapes; the field reports hold 1e-4 too",
    ),
    Gate(
        "company_delta",
        0.25,
        "nats",
        "other batch shapes pick other kernels: two bf16 steps (2 × 2^-3) of a logit between 16 and 32",
    ),
    Gate(
        "long_delta",
        0.1,
        "nats, mean over 64 tokens",
        "decoding and prefilling are the same sums in another order; a wrong position or block moves it by nats",
    ),
    Gate(
        "near_tie",
        0.25,
        "nats",
        "a flip is harmless where the favourite leads by less than two bf16 steps of a logit between 16 and 32",
    ),
    Gate(
        "kl_mean",
        0.05,
        "nats, KL(B‖D)",
        "what a 4-bit quantization costs (llama.cpp: Q4_K_M 0.03 to 0.06); bf16 on both sides has no excuse",
    ),
    Gate(
        "kl_prompt",
        0.2,
        "nats, worst prompt's mean KL(B‖D)",
        "a fault past a KV block or in one script touches few prompts and drowns in the mean",
    ),
    Gate("kl_max", 1.0, "nats, KL(B‖D)", "a single position this far off is a wrong token's distribution"),
    Gate(
        "hard_flips",
        0.005,
        "share of positions",
        "the reference preferred another token by more than a near tie; bf16 does not do that",
    ),
    Gate(
        "noise_ratio",
        2.0,
        "KL(R‖D) / KL(R‖B), upper 95 % bound",
        "the device may err as bf16 does, and its other order of summation as much again",
    ),
    Gate(
        "arranged_ratio",
        8.0,
        "KL(R‖D) / KL(R‖B) of the worst prompt made to the engine's size, and of one that lifts parity.noise alone",
        "sound models lie under 4; a slot of the KV cache that is lost costs 11 and more (make bench-faults)",
    ),
    Gate(
        "baseline_ratio",
        4.0,
        "KL(F‖D) / KL(R‖B), upper 95 % bound",
        "two devices that each err as bf16 does are twice as far apart, and twice that for the order of summation",
    ),
    Gate(
        "baseline_ignored",
        1e-7,
        "nats, KL(F‖D)",
        "below it log-probabilities in float32 are compared with their own rounding",
    ),
    Gate(
        "noise_ignored",
        1e-4,
        "nats, KL(R‖D)",
        "below it the ratio compares rounding with rounding: the KL of Q8_0 against fp16 is ten times that",
    ),
    Gate(
        "follow",
        0.25,
        "|KL between pictures by the device / by the reference − 1|",
        "an engine that loses the picture has 0, one that mixes pictures up another number; bf16 moves it by percents",
    ),
    Gate(
        "vector_distance",
        0.1,
        "‖B − D‖ / ‖B‖, worst text",
        "bf16 moves a vector by 0.01 to 0.05 of its length; 0.1 is a cosine of 0.995",
    ),
    Gate(
        "score_delta",
        0.25,
        "nats, largest |Δ logit| of any text",
        "two bf16 steps of a logit between 16 and 32, as for tokens",
    ),
    Gate(
        "activation_delta",
        5e-3,
        "|Δ score|",
        "a sigmoid of the very logits differs by the rounding of its argument, which bf16 makes 2^-8",
    ),
)

_BY_NAME = MappingProxyType({gate.name: gate for gate in GATES})


def own(limits: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Of the limits by gate name, those that are not the gate's: (the user's, the gate's)."""
    return {gate.name: (limits[gate.name], gate.limit) for gate in GATES if limits[gate.name] != gate.limit}


def limits(overrides: Mapping[str, float] | None = None) -> dict[str, float]:
    """Limits by gate name, with the user's own in place. Raises WeightsmithError for a gate that does not exist."""
    chosen = dict(overrides or {})
    unknown = sorted(chosen.keys() - _BY_NAME.keys())
    if unknown:
        way_out = f"the gates are {', '.join(_BY_NAME)}"
        raise WeightsmithError("--gate", f"there is no gate {', '.join(unknown)}", way_out)
    return {name: chosen.get(name, gate.limit) for name, gate in _BY_NAME.items()}
