"""In the likelihood's child: whether a model ends its turns as its chat template does, and whether anything stops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.behaviour_finding import END_OF_TURN, BehaviourFinding
from weightsmith.verify.likelihood.texts import TALKS
from weightsmith.verify.likelihood.tokenized import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from weightsmith.verify.likelihood.siblings import Config, Lab

# A probability of the end behind an answer that is over, and how many times less it has to be within one.
_LIKELY, _LESS = 0.01, 100.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer as the template has them. over: up to the end of the answer. within: halfway. end: the
    token that the template puts behind an answer.
    """

    over: tuple[int, ...]
    within: tuple[int, ...]
    end: int


def turn_end(
    lab: Lab, config: Config, folder: Path, talks: Sequence[tuple[str, str]] = TALKS
) -> Iterator[BehaviourFinding]:
    """What the template's talks say. Nothing without a chat template that loads. config: the best that was found."""
    try:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        turns = [] if not tokenizer.chat_template else [_turn(tokenizer, *talk) for talk in talks]
    except Exception:  # a tokenizer or its template may be damaged in any way, and is no matter of settings
        return
    if not turns:
        return
    readings = {
        f"{n} {name}": Reading((), (*before, one.end), len(before))
        for n, one in enumerate(turns)
        for name, before in (("over", one.over), ("within", one.within))
    }
    (found,) = replace(lab, texts=readings).scores([config])
    if found:
        over, within = (
            math.exp(sum(float(found[f"{n} {name}"][0].mean()) for n in range(len(turns))) / len(turns))
            for name in ("over", "within")
        )
        stops = _stops(lab, tokenizer)
        yield _finding(
            tokenizer.convert_ids_to_tokens(turns[0].end), over, within, stopped=turns[0].end in stops
        )


def _turn(tokenizer: PreTrainedTokenizerBase, question: str, answer: str) -> Turn:
    talk = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    written = str(tokenizer.apply_chat_template(talk, tokenize=False))
    at = written.rindex(answer) + len(answer)
    whole, behind = (
        tuple(tokenizer(text, add_special_tokens=False).input_ids) for text in (written[:at], written[at:])
    )
    said = len(tokenizer(answer, add_special_tokens=False).input_ids)
    return Turn(whole, whole[: len(whole) - said // 2], behind[0])


def _stops(lab: Lab, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens at which an engine stops: of generation_config.json, of the config, of the tokenizer."""
    model = lab.loaded.model
    generation = getattr(model, "generation_config", None)
    stated = (
        getattr(generation, "eos_token_id", None),
        model.config.get_text_config().eos_token_id,
        tokenizer.eos_token_id,
    )
    return {
        one for each in stated for one in (each if isinstance(each, list) else [each]) if isinstance(one, int)
    }


def _finding(end: str, over: float, within: float, *, stopped: bool) -> BehaviourFinding:
    figures = f"its probability is {over:.2g} behind an answer, {within:.2g} within one"
    if over < _LIKELY or over < _LESS * within:
        says = f"the template ends turns with {end}, and the model does not tell where: {figures}"
        return BehaviourFinding(END_OF_TURN, "not told", end, end, (end,), (), says, whole=True)
    if stopped:
        says = f"{end} ends a turn: {figures}"
        return BehaviourFinding(END_OF_TURN, "told", end, end, (end,), (), says, whole=True)
    says = f"the model ends its turns with {end}, at which nothing stops, since no eos_token_id has it: {figures}"
    return BehaviourFinding(END_OF_TURN, "contradicted", end, end, (end,), (), says, whole=True)
