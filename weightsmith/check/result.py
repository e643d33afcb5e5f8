"""What `check` found: of each checkpoint its checks, of each check what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from weightsmith.documents import CheckDocument, CheckedEntry, CheckEntry, CheckFindingEntry

Level: TypeAlias = Literal["error", "warning"]
# pass: nothing is wrong, or there are warnings alone. fail: there is an error. unreadable: what it needs could not be
# read, and its finding says why. skip: there was nothing to check, or nobody asked.
CheckVerdict: TypeAlias = Literal["pass", "fail", "unreadable", "skip"]
# Of a checkpoint, and of all of them together: the worst.
Verdict: TypeAlias = Literal["sound", "unsound", "unreadable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    rule: of which kind it is, as infer-config names its problems. path: the file that it is in, or the checkpoint.
    line: in that file, from 1; None where it is in no line.
    """

    rule: str
    level: Level
    message: str
    path: str
    line: int | None = None

    def document(self) -> CheckFindingEntry:
        """One entry of `findings` in the JSON contract."""
        return {
            "rule": self.rule,
            "level": self.level,
            "message": self.message,
            "path": self.path,
            "line": self.line,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a checkpoint. says: what was looked at and found, or why it was left out, in one sentence."""

    name: str
    verdict: CheckVerdict
    says: str
    findings: tuple[Finding, ...] = ()

    def document(self) -> CheckEntry:
        """One entry of `checks` in the JSON contract."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "says": self.says,
            "findings": [finding.document() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class CheckedCheckpoint:
    """All checks of one checkpoint. path: as it was named."""

    path: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        verdicts = {check.verdict for check in self.checks}
        return "unreadable" if "unreadable" in verdicts else "unsound" if "fail" in verdicts else "sound"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all checks, in their order."""
        return tuple(finding for check in self.checks for finding in check.findings)

    def document(self) -> CheckedEntry:
        """One entry of `checkpoints` in the JSON contract."""
        return {
            "path": self.path,
            "verdict": self.verdict,
            "checks": [check.document() for check in self.checks],
        }

    def strict(self) -> CheckedCheckpoint:
        """The same where a warning counts as an error."""
        return replace(self, checks=tuple(map(_strict, self.checks)))


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found, in the order in which the checkpoints were named."""

    checkpoints: tuple[CheckedCheckpoint, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        verdicts = {one.verdict for one in self.checkpoints}
        return "unreadable" if "unreadable" in verdicts else "unsound" if "unsound" in verdicts else "sound"

    def count(self, verdict: Verdict) -> int:
        """How many checkpoints have this verdict."""
        return sum(one.verdict == verdict for one in self.checkpoints)

    def document(self) -> CheckDocument:
        """The JSON of the command line's contract."""
        return {
            "command": "check",
            "verdict": self.verdict,
            "checkpoints": [one.document() for one in self.checkpoints],
        }


def _strict(check: Check) -> Check:
    raised = tuple(replace(finding, level="error") for finding in check.findings)
    return replace(
        check, verdict="fail" if raised and check.verdict == "pass" else check.verdict, findings=raised
    )
