"""In the likelihood's child: which change of a setup is taken for the right one, and which would do as well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.verify.likelihood.judge import compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.verify.likelihood.judge import Evidence, Scores


@dataclass(frozen=True, slots=True)
class Mend:
    """A change that makes known texts likelier. name: of the finding that says so. what: the change, in words.

    evidence: beside what is changed. scores: with the change. texts: those that the model knows with it.
    """

    name: str
    what: str
    evidence: Evidence
    scores: Scores
    texts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Choice:
    """The change that is taken. instead: others, beside which it is not surely better."""

    taken: Mend
    instead: tuple[Mend, ...]

    @staticmethod
    def among(mends: Sequence[Mend]) -> Choice:
        """What gains most is taken."""
        most = max(mends, key=lambda one: one.evidence.nats)
        return Choice(most, tuple(one for one in mends if one is not most and not _rules_out(most, one)))


def _rules_out(mend: Mend, other: Mend) -> bool:
    evidence = compare(mend.scores, other.scores, mend.texts)
    return evidence is not None and evidence.rules_out


def qualified(finding: BehaviourFinding, choices: Mapping[str, Choice]) -> BehaviourFinding:
    """A finding beside what was changed to come to it. choices: the changes, by the names of their findings.

    What would do instead of a change is named with it, and nothing is told of it.
    """
    own = choices.get(finding.name)
    if own is not None and own.instead and finding.telling == "contradicted":
        others = tuple(one.what for one in own.instead)
        says = f"{finding.says}; as likely with {', '.join(others)} instead"
        return replace(finding, instead=others, says=says)
    for choice in choices.values():
        if finding.telling == "told" and any(one.name == finding.name for one in choice.instead):
            says = f"{finding.says}; if the fault is not in it, but is mended with {choice.taken.what}"
            return replace(finding, telling="not told", says=says)
    return finding
