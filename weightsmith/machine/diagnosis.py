"""What the doctor says: one finding per question, each with its own verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warn", "fail", "absent"]


@dataclass(frozen=True, slots=True)
class Finding:
    """found, expected: in words. fix: the command or act that mends it, empty where there is nothing to mend."""

    name: str
    verdict: Verdict
    found: str
    expected: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    checks: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Nothing failed; what is absent is no illness: a machine without an NPU is not ill."""
        return all(check.verdict != "fail" for check in self.checks)

    def document(self) -> dict[str, Any]:
        """The JSON of the command line's contract."""
        return {"command": "doctor", "checks": [asdict(check) for check in self.checks]}
