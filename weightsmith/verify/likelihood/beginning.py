"""In the likelihood's child: whether a model expects the token that begins a text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.behaviour_finding import BEGIN_OF_TEXT
from weightsmith.verify.likelihood.questions import Question
from weightsmith.verify.likelihood.search import begun
from weightsmith.verify.likelihood.words import finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.verify.likelihood.siblings import Config, Lab


def beginning(lab: Lab, config: Config, vocabulary: int) -> Iterator[BehaviourFinding]:
    """What texts say of it. Nothing for a model without such a token.

    The value is whether the tokenizer puts one before a text. config: the best that was found.
    """
    led, other = _is_led(lab), begun_otherwise(lab)
    if other is None:
        return
    first, second = (one.scores([config])[0] for one in (lab, other))
    if first is not None and second is not None:
        asked = Question((BEGIN_OF_TEXT,), led, "choice", (not led,))
        yield finding(begun(asked, vocabulary, first, led).plus(not led, 1.0, second))


def begun_otherwise(lab: Lab) -> Lab | None:
    """The lab whose texts begin without the token that the tokenizer puts before them, or with the config's.

    None for a model without such a token.
    """
    token, led = lab.loaded.model.config.get_text_config().bos_token_id, _is_led(lab)
    if not led and not isinstance(token, int):
        return None
    other = {name: replace(one, lead=() if led else (token,)) for name, one in lab.texts.items()}
    return replace(lab, texts=other)


def _is_led(lab: Lab) -> bool:
    return any(one.lead for one in lab.texts.values())
