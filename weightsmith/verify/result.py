"""What a verification found: checks that each judge themselves, and the document that the contract promises."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question with its own answer. `value` and `threshold` are what was compared; `detail` says it in words."""

    name: str
    verdict: Verdict
    value: float | int | str | None
    threshold: float | int | str | None
    detail: str

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "verdict": self.verdict,
            "value": self.value,
            "threshold": self.threshold,
            "detail": self.detail,
        }


def combine(checks: Iterable[Check]) -> Verdict:
    """Any fail fails; else anything unknown leaves the whole unknown. No checks at all prove nothing."""
    verdicts = [check.verdict for check in checks]
    if "fail" in verdicts:
        return "fail"
    return "inconclusive" if "inconclusive" in verdicts or not verdicts else "pass"


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """All that one run found. The dictionaries hold JSON values only; their keys are the report's rows.

    own_limits: by gate, the user's limit and the gate's own.
    """

    model: dict[str, Any]
    device: dict[str, Any]
    engine: dict[str, Any]
    checks: tuple[Check, ...]
    parity: dict[str, Any]
    prompts: tuple[dict[str, Any], ...]
    report: str | None = None
    performance: dict[str, Any] = field(default_factory=dict)
    determinism: tuple[dict[str, Any], ...] = ()
    command: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    own_limits: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        return combine(self.checks)

    def document(self) -> dict[str, Any]:
        """The JSON of `verify-on-npu --json`, key for key as the command line's contract has it."""
        document = {
            "command": "verify-on-npu",
            "verdict": self.verdict,
            "device": self.device,
            "engine": self.engine,
            "checks": [check.document() for check in self.checks],
            "parity": self.parity,
            "prompts": list(self.prompts),
            "report": self.report,
            "determinism": list(self.determinism),
            "seconds": self.seconds,
            "own_limits": self.own_limits,
        }
        return {key: json_value(value) for key, value in document.items()}


def json_value(value: Any) -> Any:
    """The same without NaN and infinities, which JSON has no words for: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(inner) for inner in value]
    return value
