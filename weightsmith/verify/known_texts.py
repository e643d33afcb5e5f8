"""Whether known texts are likelier with other settings than the config's, or with the weights in another order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.behaviour_finding import WEIGHTS_ORDER
from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import WeightsmithError
from weightsmith.verify.checks import Check
from weightsmith.verify.likelihood.asking import ask
from weightsmith.verify.likelihood.texts import BUILT_IN, Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.json_value import JsonObject
    from weightsmith.process.child import Stage
    from weightsmith.verify.inputs.prompts import Prompt

# Of a check, and of what was not run.
NAME = "known-texts"
# Seconds that asking may take beside everything else. SmolLM2-135M takes two thirds of it on two cores.
_WITHIN = 180.0
# Scripts that put no space between words.
_UNSPACED = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class KnownTexts:
    """What they say. why_not: why they say nothing; empty where they do."""

    findings: tuple[BehaviourFinding, ...]
    why_not: str = ""


def asked(model: Path, config: JsonObject, prompts: Sequence[Prompt], tell: Stage) -> KnownTexts:
    """Has transformers read the built-in texts, and what the prompts' answers should be."""
    try:
        checkpoint = open_checkpoint(model)
        found = ask(checkpoint, config, tell, {**BUILT_IN, **answers(prompts)}, _WITHIN)
    except WeightsmithError as error:
        return KnownTexts((), f"{error.fact}; `weightsmith infer-config {model} --behaviour` takes its time")
    if not any(one.ruled_out for one in found):
        return KnownTexts((), "the model knows none of the texts, so that they rule nothing out")
    return KnownTexts(found)


def answers(prompts: Sequence[Prompt]) -> dict[str, Text]:
    """A prompt and what is expected of it, as texts of which the expected part is asked."""
    return {
        str(n): Text(_joined(prompt.text, prompt.expect), prompt.text)
        for n, prompt in enumerate(prompts)
        if prompt.expect is not None
    }


def _joined(prompt: str, expect: str) -> str:
    spaced = not prompt[-1].isspace() and not _UNSPACED.search(prompt[-1] + expect[0])
    return f" {expect}" if spaced else expect


def check(found: KnownTexts, model: Path) -> Check:
    """Whether everything is as likely as it could be. Nothing must be left open in `found`."""
    wrong = [f"{one.name}: {one.says}" for one in found.findings if one.telling == "contradicted"]
    if wrong:
        more = f"`weightsmith infer-config {model} --behaviour` tells more"
        return Check(NAME, "fail", len(wrong), 0, f"{'; '.join(wrong)}; {more}")
    settings = sum(one.name != WEIGHTS_ORDER for one in found.findings)
    words = f"{settings} settings and the order of the weights were changed: nothing makes them likelier"
    return Check(NAME, "pass", 0, 0, words)
