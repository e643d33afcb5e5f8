"""In the likelihood's child: whether a model that knows no text is at least as sure as it is right, and if not, why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.behaviour_finding import CALIBRATION, TOKENIZER_MISMATCH, BehaviourFinding, Exclusion
from weightsmith.verify.likelihood.beginning import begun_otherwise
from weightsmith.verify.likelihood.judge import compare
from weightsmith.verify.likelihood.surprise import SURPRISED, at_home, surprise, surprised
from weightsmith.verify.likelihood.words import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from weightsmith.verify.likelihood.judge import Evidence, Scores
    from weightsmith.verify.likelihood.siblings import Config, Lab
    from weightsmith.verify.likelihood.tokenized import Reading

# What is added to the ids: lists of tokens that lost some, or got some, at their beginning.
_SHIFTS = (-4, -3, -2, -1, 1, 2, 3, 4)
_AS_THEY_ARE, _CALIBRATED = 0, "as sure as it is right"


def calibration(
    lab: Lab, config: Config, own: Scores, vocabulary: int, further: Callable[[], Mapping[str, Reading]]
) -> Iterator[BehaviourFinding]:
    """What the texts say of it. Nothing of a model that knows one of them, or is as sure of one as it is right.

    config: the best that was found. own: what it says. further: makes texts in other languages, which are read only
    where those of the lab surprise it, as they are read from the other beginning.
    """
    if surprised(own, lab.texts, vocabulary) is None:
        return
    every = replace(lab, texts={**lab.texts, **further()})
    (again,) = every.scores([config])
    found = None if again is None else surprised(again, every.texts, vocabulary)
    if found is None or again is None or _begins_otherwise(lab, config, vocabulary):
        return
    home = at_home(lab.texts)
    name = next(one for one in lab.texts if one in home)
    shift = _shifted(every, config, {name: again[name]}, vocabulary)
    yield _uncalibrated(found, len(at_home(every.texts))) if shift is None else _mismatch(*shift)


def _begins_otherwise(lab: Lab, config: Config, vocabulary: int) -> bool:
    """Whether texts surprise it only because the tokenizer begins them otherwise than it expects."""
    other = begun_otherwise(lab)
    (found,) = (None,) if other is None else other.scores([config])
    return other is not None and found is not None and surprised(found, other.texts, vocabulary) is None


def _shifted(lab: Lab, config: Config, own: Scores, vocabulary: int) -> tuple[int, Evidence] | None:
    """The number that, added to each id, makes a text much likelier and no surprise. own: of that one text."""
    ((name, scores),) = own.items()
    texts = {str(by): lab.texts[name].shifted(by, vocabulary) for by in _SHIFTS}
    (found,) = replace(lab, texts=texts).scores([config])
    if found is None:
        return None
    judged = {by: (compare({"": found[by]}, {"": scores}, [""]), surprise(found, [by])) for by in texts}
    better = {
        by: gain
        for by, (gain, left) in judged.items()
        if gain and left and gain.rules_out and gain.nats >= SURPRISED and left.nats < SURPRISED / 2
    }
    best = max(better, key=lambda by: better[by].nats, default=None)
    return None if best is None else (int(best), better[best])


def _mismatch(by: int, evidence: Evidence) -> BehaviourFinding:
    says = (
        f"the tokenizer's ids are not the model's: with {by:+d} added to each, a known text is likelier by "
        f"{amount(evidence)}"
    )
    out = (Exclusion(_AS_THEY_ARE, evidence.nats, evidence.z),)
    return BehaviourFinding(
        TOKENIZER_MISMATCH, "contradicted", _AS_THEY_ARE, by, (by,), out, says, whole=False
    )


def _uncalibrated(evidence: Evidence, texts: int) -> BehaviourFinding:
    says = (
        f"the model is surer than it is right, by {amount(evidence)}, in all {texts} texts that its tokenizer has "
        "words of: its tokenizer, a setting or its weights are not what it was trained with, and nothing that was "
        "tried mends it"
    )
    out = (Exclusion(_CALIBRATED, evidence.nats, evidence.z),)
    return BehaviourFinding(CALIBRATION, "contradicted", _CALIBRATED, None, (), out, says, whole=False)
