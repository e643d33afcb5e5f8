"""Where an answer ends: the tokenizer's own end token against the ids that the configs give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.shapes.beside.json_files import stated_ids
from weightsmith.shapes.beside.tokenizer_file import added_token_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.json_value import JsonObject


def end_token(
    config: JsonObject, generation: JsonObject, tokenizer: JsonObject, vocabulary: bytes
) -> Iterator[Problem]:
    """An answer that the tokenizer's end token does not end runs on, or another token cuts it short.

    config, generation, tokenizer: config.json, generation_config.json and tokenizer_config.json, empty where absent.
    vocabulary: the text of tokenizer.json.

    Silent where either side says nothing: several ids may end an answer, and not every tokenizer names one.
    """
    text = config.get("text_config")
    owners: list[JsonObject] = [config, text if isinstance(text, dict) else {}, generation]
    ends = {number for owner in owners for number in stated_ids(owner.get("eos_token_id"))}
    token = _named(tokenizer)
    own = None if token is None or not ends else added_token_id(vocabulary, token)
    if own is not None and own not in ends:
        stated = ", ".join(map(str, sorted(ends)))
        yield Problem(
            "end-token",
            f"the tokenizer ends a text with {token} ({own}), the configs with eos_token_id {stated}",
            file="tokenizer_config.json",
        )


def _named(tokenizer: JsonObject) -> str | None:
    """The end token of a tokenizer_config.json: a string, or an object with its content."""
    token = tokenizer.get("eos_token")
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None
