"""The doctor's result: one finding per question, each with its own verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject

Verdict = Literal["ok", "warn", "fail", "absent"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question. "absent": not there, and not needed as far as can be told.

    name: of the question.
    found, expected: in words.
    fix: the command or act that mends it, empty where there is nothing to mend.
    """

    name: str
    verdict: Verdict
    found: str
    expected: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, in the order in which the layers of the stack depend on each other."""

    checks: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Nothing failed. What is absent does not count: a machine without an NPU is healthy."""
        return all(check.verdict != "fail" for check in self.checks)

    def document(self) -> JsonObject:
        """The JSON of the command line's contract."""
        return {"command": "doctor", "checks": [asdict(check) for check in self.checks]}
