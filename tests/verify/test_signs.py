"""Signs of life of answers that read well one by one: their order, their prompts, their scripts, and human text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.verify.handmade import log_softmax, logprob_file, random_logprobs
from weightsmith.process.child import Failure
from weightsmith.verify.engine.engine import Other
from weightsmith.verify.engine.engine_job import Reading
from weightsmith.verify.judge import gates, signs
from weightsmith.verify.measure import answers
from weightsmith.verify.measure.health import Facts
from weightsmith.verify.steps import _is_too_small

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LIMITS = gates.limits()
VOCABULARY = 20


def _sure(tokens: Sequence[int], height: float) -> NDArray[np.float32]:
    """Distributions that favour one token each, the others being alike."""
    logits = np.zeros((len(tokens), VOCABULARY))
    logits[np.arange(len(tokens)), list(tokens)] = height
    return log_softmax(logits)


def test_a_sound_answer_hangs_on_its_order_and_its_prompt(tmp_path: Path) -> None:
    tokens = {0: (1, 2, 3, 4), 1: (5, 6, 7, 8), 2: (9, 10, 11, 12)}
    file = logprob_file(tmp_path / "s", {n: _sure(answer, 8.0) for n, answer in tokens.items()})
    found = answers.bond(file, tokens, tokens)
    assert found is not None
    assert (found.answers, found.order, found.prompt) == (3, pytest.approx(8.0), pytest.approx(8.0))
    assert {check.verdict for check in signs.bond_checks(found, LIMITS)} == {"pass"}


def test_the_same_distribution_at_every_place_knows_no_order(tmp_path: Path) -> None:
    rows = np.tile(random_logprobs(3, positions=1, vocabulary=VOCABULARY), (4, 1))
    favourites = [int(token) for token in np.argsort(-rows[0])[:3]]
    tokens = dict.fromkeys(range(3), (*favourites, favourites[0]))
    found = answers.bond(logprob_file(tmp_path / "f", dict.fromkeys(tokens, rows)), tokens, tokens)
    assert found is not None
    assert found.order == pytest.approx(0.0, abs=2.0)
    assert found.prompt == pytest.approx(0.0, abs=1e-5)
    assert {c.name: c.verdict for c in signs.bond_checks(found, LIMITS)}["prompted"] == "fail"


@pytest.mark.parametrize(("heard", "verdict"), [(True, "pass"), (False, "fail")])
def test_what_came_before_the_last_token_must_be_heard(tmp_path: Path, heard: bool, verdict: str) -> None:
    """Without attention a model goes on from the last token alone, fluently and always alike."""
    # Behind token 3 each answer goes on in its own way, or all of them do in the first one's.
    answered = {n: (3, n + 4, 3, n + 9) for n in range(8)}
    rows = {n: _sure(tokens if heard else answered[0], 8.0) for n, tokens in answered.items()}
    file = logprob_file(tmp_path / "c", rows)
    found = answers.bond(file, answered, {n: (n, 17) for n in answered})
    assert found is not None and found.context == pytest.approx(8.0 if heard else 0.0)
    assert {c.name: c.verdict for c in signs.bond_checks(found, LIMITS)}["context"] == verdict
    # Where few tokens stand before two places nothing is said.
    alone = answers.bond(file, {n: (n + 4,) for n in answered}, {n: (17, n) for n in answered})
    assert alone is not None and alone.context is None


def test_an_answer_of_one_token_has_no_order_and_one_prompt_alone_no_others(tmp_path: Path) -> None:
    file = logprob_file(tmp_path / "o", {0: _sure((1, 1, 1), 8.0)})
    found = answers.bond(file, {0: (1, 1, 1)}, {0: (2,)})
    assert found == answers.Bond(1, None, None, None)
    assert list(signs.bond_checks(found, LIMITS)) == []


def test_of_the_top_k_alone_nothing_is_said(tmp_path: Path) -> None:
    rows = random_logprobs(1, positions=2, vocabulary=5)
    ids = np.tile(np.arange(5, dtype=np.int32), (2, 1))
    file = logprob_file(tmp_path / "k", {0: rows}, {0: ids})
    assert answers.bond(file, {0: (1, 2)}, {0: (2,)}) is None
    assert list(signs.bond_checks(None, LIMITS)) == []


@pytest.mark.parametrize(
    ("text", "strange"),
    [
        (" Paris, of course.", False),
        ("巴黎。", False),
        ("ありがとう", False),  # written with the script of the prompts' characters
        ("привет, мир", True),
        ("the мир and the город", False),  # mostly Latin
        ("café Ωmega ж ש ก", True),  # five scripts in a row
        ("1 + 1 = 2 !!", False),
        ("π", False),
    ],
)
def test_scripts_that_nobody_asked_in(text: str, strange: bool) -> None:
    assert answers.foreign(text, ["The capital of France is", "法国的首都是"]) is strange


def test_half_of_the_answers_may_be_in_a_strange_script() -> None:
    assert signs.script_check([True, False], LIMITS).verdict == "pass"
    assert signs.script_check([True, True, False], LIMITS).verdict == "fail"


def test_a_model_that_finds_human_text_no_likelier_than_its_words_in_a_heap_fails() -> None:
    knows_nothing = Facts(2, (0, 1))
    sound, salad = Reading(100, -3.6, -8.0), Reading(100, -7.9, -8.0)
    assert signs.reading_check(sound, knows_nothing, LIMITS).verdict == "pass"
    found = signs.reading_check(salad, knows_nothing, LIMITS)
    assert (found.name, found.verdict, found.value) == ("reading", "fail", 0.1)


def test_a_model_that_answers_facts_is_alive_whatever_it_makes_of_text() -> None:
    found = signs.reading_check(Reading(100, -20.0, -19.0), Facts(2, (1,)), LIMITS)
    assert found.verdict == "pass"
    assert "it answers facts" in found.detail
    assert signs.reading_check(Reading(100, -20.0, -19.0), Facts(0, ()), LIMITS).verdict == "fail"


def test_the_questions_are_read_as_they_stand_and_shuffled() -> None:
    from weightsmith.verify.engine import reading

    asked: list[list[list[int]]] = []

    def generate(requests: Any, params: Any, use_tqdm: bool) -> Any:
        assert params.prompt_logprobs == 0
        prompts = [request["prompt_token_ids"] for request in requests]
        asked.append(prompts)
        return [
            SimpleNamespace(
                prompt_logprobs=[None, *({t: SimpleNamespace(logprob=-float(t))} for t in ids[1:])]
            )
            for ids in prompts
        ]

    llm: Any = SimpleNamespace(generate=generate)
    found = reading.read(llm, [[9, 1, 2, 3], [7, 7]])
    assert found == Reading(3, -2.0, -2.0)
    assert asked[0] == [[9, 1, 2, 3]]
    assert asked[1][0][0] == 9
    assert sorted(asked[1][0]) == [1, 2, 3, 9]
    assert reading.read(llm, [[1, 2]]) is None


def test_a_template_that_fails_is_said() -> None:
    found = signs.template_check("its template fails: TypeError: can only concatenate str")
    assert found.verdict == "inconclusive"
    assert "its template fails" in found.detail


def test_a_small_engine_that_fails_once_it_answers_has_failed() -> None:
    squeezed = Other("preempted", {}, crowded=True)
    assert _is_too_small(squeezed, Failure("no room", "loading the model"))
    assert not _is_too_small(squeezed, Failure("RuntimeError: slot", "answering: batch"))
    assert not _is_too_small(squeezed, Failure("partial output", "reading its answers"))
    assert not _is_too_small(Other("eager", {}), Failure("no room", "loading the model"))
