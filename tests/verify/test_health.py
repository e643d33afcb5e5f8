"""Signs of life: what counts as a fact known, a loop, garbage, a flat distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.verify.handmade import log_softmax, logprob_file, random_logprobs
from weightsmith.verify.inputs.prompts import Prompt
from weightsmith.verify.measure import health

if TYPE_CHECKING:
    from pathlib import Path


def test_a_fact_is_known_when_the_answer_holds_it_in_any_case() -> None:
    prompts = [
        Prompt("a", "Paris"),
        Prompt("b", "北京"),
        Prompt("c", "oxygen"),
        Prompt("d"),
        Prompt("e", "5"),
    ]
    found = health.facts(prompts, {0: " paris, of course", 1: "是北京。", 2: "helium", 3: "anything"})
    assert found.expected == 3  # the fifth was never answered, the fourth expects nothing
    assert found.missed == (2,)
    assert found.answered == 2


def test_a_model_of_one_language_is_judged_by_what_is_asked_in_its_script() -> None:
    english = [Prompt(f"The capital number {n} is", "Paris") for n in range(9)]
    chinese = [Prompt(f"{n}的首都是", "北京") for n in range(12)]
    prompts = [*english, *chinese, Prompt("Translate to Chinese: thanks", "谢谢")]
    found = health.facts(prompts, {n: "Paris" if n < 6 else "no" for n in range(len(prompts))})
    assert (found.answered, found.expected, found.best) == (6, 22, ("LATIN", 6, 9))
    # Broken or weak, it answers little of either; and seven questions are too few to stand for a language.
    silent = health.facts(prompts, dict.fromkeys(range(len(prompts)), "no"))
    assert silent.best == (None, 0, 22)
    few = health.facts(prompts[2:], {n: "Paris" if n < 6 else "no" for n in range(len(prompts) - 2)})
    assert few.best == (None, 6, 20)


@pytest.mark.parametrize(
    ("tokens", "loops"),
    [
        ([7] * 16, True),
        ([7] * 15, False),
        ([1, 2, 3, 4] * 2 + [5, 6, 7, 8] * 4, True),
        ([5, 6, 7, 8, 9] * 6, False),
        (list(range(32)), False),
        ([1] * 20 + [2, 3], False),
        ([], False),
    ],
)
def test_a_loop_is_sixteen_tokens_of_a_short_period_at_the_end(tokens: list[int], loops: bool) -> None:
    assert health.loops(tokens) is loops


@pytest.mark.parametrize(
    ("text", "garbage"),
    [
        ("The capital of France is Paris.", False),
        ("巴黎。\n", False),
        ("巴\ufffd", False),  # cut inside a character
        ("a\ufffdb\ufffdc\ufffdd", True),
        ("\x00\x01\x02 abc", True),
        ("\ufffd\ufffd\ufffd\ufffd", True),
        ("", False),
    ],
)
def test_garbage_is_what_no_script_writes(text: str, garbage: bool) -> None:
    assert health.is_garbage(text) is garbage


def test_shares_are_of_all_answers() -> None:
    texts = {0: "yes", 1: "yes", 2: "yes", 3: " "}
    found = health.sanity(texts, {0: (1,) * 16, 1: (1, 2), 2: (1, 2), 3: (3,)})
    assert (found.looping, found.alike, found.empty, found.garbage) == (0.25, 0.75, 0.25, 0.0)


def test_a_uniform_distribution_is_flat_and_a_certain_one_is_not(tmp_path: Path) -> None:
    uniform = health.spread(logprob_file(tmp_path / "u", {0: log_softmax(np.zeros((5, 100)))}), [0])
    assert uniform.flatness == pytest.approx(1.0)
    assert uniform.top_probability == pytest.approx(0.01)
    certain = np.zeros((5, 100))
    certain[:, 3] = 50
    assert health.spread(logprob_file(tmp_path / "c", {0: log_softmax(certain)}), [0]).flatness < 0.01


def test_nan_is_counted_and_keeps_its_row_out_of_the_means(tmp_path: Path) -> None:
    rows = random_logprobs(0)
    rows[2, 5:8] = np.nan
    found = health.spread(logprob_file(tmp_path / "n", {0: rows}), [0])
    assert (found.nonfinite, found.positions) == (3, len(rows) - 1)
    assert np.isfinite(found.flatness)


def test_probabilities_that_do_not_sum_to_one_are_noticed(tmp_path: Path) -> None:
    found = health.spread(logprob_file(tmp_path / "m", {0: random_logprobs(0) + 0.2}), [0])
    assert found.mass_error == pytest.approx(0.2, abs=1e-4)


def test_of_top_k_alone_the_rest_is_one_bucket(tmp_path: Path) -> None:
    rows = random_logprobs(0)
    ids = np.argsort(-rows, axis=1)[:, :5].astype(np.int32)
    top = np.take_along_axis(rows, ids, axis=1)
    partial = health.spread(logprob_file(tmp_path / "p", {0: top}, {0: ids}), [0])
    assert partial.mass_error is None
    assert partial.nonfinite == 0
