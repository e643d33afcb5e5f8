"""The screen of what the numbers tell, and of what they could tell where nobody has asked them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.cli.terminal import line
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from weightsmith.shapes import Inference

# How transformers calls classes that say what comes next.
_SPEAKING = ("ForCausalLM", "LMHeadModel")
_MARKS = {"told": "✓", "not told": "·", "contradicted": "✗"}


def show_values(found: Inference) -> None:
    """A line for each answer of the numbers; or one line with the open fields that they might settle."""
    if found.values is None:
        _offer(found)
        return
    for told in found.values:
        words = "values: {mark} {name}: {says} [{tensors}]"
        line(
            say(
                words,
                mark=_MARKS[told.telling],
                name=told.name,
                says=Sentence(told.says),
                tensors=told.tensors,
            )
        )
    if not found.values:
        line(say("values: nothing here that the numbers are asked"))


def show_behaviour(found: Inference, *, verbose: bool) -> None:
    """A line for each setting of which known texts tell something, and one for those of which they do not."""
    if found.behaviour is None:
        _offer_behaviour(found)
        return
    for told in found.behaviour:
        if verbose or told.telling != "not told":
            words = "behaviour: {mark} {name}: {says}"
            line(say(words, mark=_MARKS[told.telling], name=told.name, says=Sentence(told.says)))
    left = [told.name for told in found.behaviour if told.telling == "not told"]
    if left and not verbose:
        line(say("behaviour: · not told apart: {names} (-v says how far)", names=", ".join(left)))
    if not found.behaviour:
        line(say("behaviour: no setting acts on the texts"))


def _offer(found: Inference) -> None:
    from weightsmith.settle.wanted import could_settle  # `--help` does without the solver

    names = could_settle(found)
    if names:
        line(say("--values may tell: {names}", names=", ".join(names)))


def _offer_behaviour(found: Inference) -> None:
    """Where nothing else is wrong, the model says what comes next, and it is on this machine."""
    from weightsmith.verify.likelihood.questions import questions_of

    speaks = any(name.endswith(_SPEAKING) for name in found.architecture.architectures)
    here = isinstance(found.checkpoint.path, Path)
    if not speaks or not here or found.verdict not in ("agrees", "derived"):
        return
    kept = {row.name for row in found.fields if row.status == "unverifiable"}
    names = [one.name for one in questions_of(found.config, {}) if one.name in kept]
    if names:
        line(say("--behaviour may tell: {names}", names=", ".join(names)))
