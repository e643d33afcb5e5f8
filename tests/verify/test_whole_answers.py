"""An answer is whole when it ends by itself or at the limit; what an engine cut off is partial output."""

from __future__ import annotations

from typing import Any

import pytest

from weightsmith.verify.engine.engine import need_whole_answers

END = 7


def _told(tokens: list[int], finish: str) -> dict[str, Any]:
    whole = {"prompt": 0, "tokens": [1, END], "finish": "stop"}
    cut = {"prompt": 3, "tokens": tokens, "finish": finish}
    return {"ends": [END], "passes": {"batch": {"answers": [whole]}, "repeat": {"answers": [whole, cut]}}}


@pytest.mark.parametrize(
    ("tokens", "finish"), [([1, 2, END], "stop"), ([END], "stop"), ([1, 2, 3, 4], "length")]
)
def test_an_end_token_or_the_limit_ends_an_answer(tokens: list[int], finish: str) -> None:
    need_whole_answers(_told(tokens, finish), max_tokens=4)


@pytest.mark.parametrize(
    ("tokens", "finish"),
    [([1, 2], "abort"), ([1, 2], "length"), ([1, 2], "stop"), ([], "stop"), ([1], "error")],
)
def test_everything_else_is_cut_off_and_named(tokens: list[int], finish: str) -> None:
    words = f"prompt 3 ends after {len(tokens)} tokens: {finish}"
    with pytest.raises(ValueError, match=words):
        need_whole_answers(_told(tokens, finish), max_tokens=4)
