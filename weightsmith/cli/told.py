"""The screen of what the numbers tell, and of what they could tell where nobody has asked them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.cli.terminal import line
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from weightsmith.shapes import Inference

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


def _offer(found: Inference) -> None:
    from weightsmith.settle.wanted import could_settle  # `--help` does without the solver

    names = could_settle(found)
    if names:
        line(say("--values may tell: {names}", names=", ".join(names)))
