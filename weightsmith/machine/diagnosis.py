"""The doctor's result: one finding per question, each with its own verdict, and which of them cause the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.documents import DoctorDocument, FindingEntry

Verdict = Literal["ok", "warn", "fail", "absent"]
_ILL = ("warn", "fail")


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question. "absent": not there, and not needed as far as can be told.

    name: of the question.
    found, expected: in words.
    fix: the command or act that mends it; empty where there is nothing to mend, or where mending its cause does.
    may_follow: findings that would explain this one if they are ill, the likeliest first.
    follows_from: the one that does, empty for a root cause. cause_of: those that follow from this one.
    """

    name: str
    verdict: Verdict
    found: str
    expected: str = ""
    fix: str = ""
    may_follow: tuple[str, ...] = ()
    follows_from: str = ""
    cause_of: tuple[str, ...] = ()

    @property
    def is_ill(self) -> bool:
        return self.verdict in _ILL

    def document(self) -> FindingEntry:
        """One entry of `checks` in the JSON contract."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "found": self.found,
            "expected": self.expected,
            "fix": self.fix,
            "follows_from": self.follows_from or None,
            "cause_of": list(self.cause_of),
        }


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, in the order in which the layers of the stack depend on each other. conclusion: one line."""

    checks: tuple[Finding, ...]
    conclusion: str = ""

    @property
    def healthy(self) -> bool:
        """Nothing failed. What is absent does not count: a machine without an NPU is healthy."""
        return all(check.verdict != "fail" for check in self.checks)

    @property
    def roots(self) -> tuple[Finding, ...]:
        """What is wrong and follows from nothing else: failures first, those that explain most before the others."""
        ill = [check for check in self.checks if check.is_ill and not check.follows_from]
        return tuple(sorted(ill, key=lambda check: (check.verdict != "fail", -len(check.cause_of))))

    def fingerprint(self) -> Mapping[str, str]:
        """None: a machine is no file."""
        return {}

    def document(self) -> DoctorDocument:
        """The JSON of the command line's contract."""
        return {
            "command": "doctor",
            "conclusion": self.conclusion,
            "checks": [check.document() for check in self.checks],
        }


def resolved(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with their causes: each ill one follows from the first of `may_follow` that is ill.

    What follows has no fix of its own. A cause of a failure is a failure, too. A finding can only follow from one that
    stands before it, so there are no circles.
    """
    ordered = tuple(findings)
    place = {finding.name: number for number, finding in enumerate(ordered) if finding.is_ill}
    causes = {
        finding.name: cause
        for number, finding in enumerate(ordered)
        if finding.is_ill
        for cause in [next((c for c in finding.may_follow if place.get(c, number) < number), None)]
        if cause is not None
    }
    failed = {finding.name for finding in ordered if finding.verdict == "fail"}
    for finding in reversed(ordered):
        if finding.name in failed and finding.name in causes:
            failed.add(causes[finding.name])
    return tuple(_placed(finding, causes, failed) for finding in ordered)


def _placed(finding: Finding, causes: dict[str, str], failed: set[str]) -> Finding:
    cause = causes.get(finding.name, "")
    return replace(
        finding,
        verdict="fail" if finding.name in failed else finding.verdict,
        fix="" if cause else finding.fix,
        follows_from=cause,
        cause_of=tuple(name for name, of in causes.items() if of == finding.name),
    )
