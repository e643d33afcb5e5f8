"""An answer is whole when it ends by itself or at the limit; what an engine cut off is partial output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.verify.handmade import completion
from weightsmith.verify.engine.engine import need_whole_completions
from weightsmith.verify.engine.engine_job import EngineAnswer
from weightsmith.verify.inputs.tokens import PassResult

END = 7


def _answer(tokens: list[int], finish: str) -> EngineAnswer:
    recorded = Path(__file__).parent / "recorded" / "engine" / "result.json"
    whole = replace(completion([1, END]), finish="stop")
    cut = replace(completion(tokens), finish=finish)
    return replace(
        EngineAnswer.from_json(json.loads(recorded.read_text(encoding="utf-8"))),
        end_tokens=(END,),
        passes={"batch": PassResult({0: whole}, 1.0), "repeat": PassResult({0: whole, 3: cut}, 1.0)},
    )


@pytest.mark.parametrize(
    ("tokens", "finish"), [([1, 2, END], "stop"), ([END], "stop"), ([1, 2, 3, 4], "length")]
)
def test_an_end_token_or_the_limit_ends_an_answer(tokens: list[int], finish: str) -> None:
    need_whole_completions(_answer(tokens, finish), max_tokens=4)


@pytest.mark.parametrize(
    ("tokens", "finish"),
    [([1, 2], "abort"), ([1, 2], "length"), ([1, 2], "stop"), ([], "stop"), ([1], "error")],
)
def test_everything_else_is_cut_off_and_named(tokens: list[int], finish: str) -> None:
    words = f"prompt 3 ends after {len(tokens)} tokens: {finish}"
    with pytest.raises(ValueError, match=words):
        need_whole_completions(_answer(tokens, finish), max_tokens=4)
