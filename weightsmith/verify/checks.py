"""One question with its own verdict, and how the verdicts of many questions make one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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


def combine(checks: Iterable[Check]) -> Verdict:
    """Any fail fails; else anything unknown leaves the whole unknown. No checks at all prove nothing."""
    verdicts = [check.verdict for check in checks]
    if "fail" in verdicts:
        return "fail"
    return "inconclusive" if "inconclusive" in verdicts or not verdicts else "pass"
