"""What must happen for a fault to show: prompts past blocks and chunks, a long answer, other engines beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verify.handmade import completion, greedy_run, random_logprobs
from weightsmith.verify.engine import engine
from weightsmith.verify.engine.engine_job import LongAnswer
from weightsmith.verify.inputs import sized
from weightsmith.verify.inputs.kinds import CAUSAL, PREFIX_LM
from weightsmith.verify.inputs.tokens import PassResult
from weightsmith.verify.judge import gates, verdicts
from weightsmith.verify.steps import of_the_same_prompts

LIMITS = gates.limits()
FOLDER = engine.ModelFolder(Path("model"), 1, 1024)


def _made(block: int, chunk: int | None, room: int) -> dict[str, int]:
    return {size.why: size.tokens for size in sized.sizes(block, chunk, room)[0]}


def test_prompts_pass_blocks_and_chunks_and_fill_the_engine() -> None:
    assert _made(128, 512, 1000) == {
        "answered across the end of a KV block of 128": 126,
        "past one KV block of 128": 192,
        "past two KV blocks of 128": 259,
        "past a chunk of 512": 576,
        "a token past a chunk of 512": 513,
        "as long as the engine takes": 1000,
    }
    assert "past a chunk" not in " ".join(_made(128, None, 1000))


def test_what_cannot_be_made_says_why() -> None:
    made, left_out = sized.sizes(128, 8192, 40_000)
    assert [size.tokens for size in made] == [126, 192, 259]
    assert "more than a reference replays" in left_out["past a chunk of 8192"]
    assert "more than a reference replays" in left_out["as long as the engine takes"]
    assert "the engine takes 100 tokens" in sized.sizes(128, 512, 100)[1]["past one KV block of 128"]


@given(
    block=st.sampled_from([16, 32, 64, 128]),
    chunk=st.none() | st.integers(32, 4096),
    room=st.integers(1, 5000),
    text=st.lists(st.integers(0, 500), min_size=1, max_size=300),
    around=st.integers(0, 4),
)
def test_every_prompt_has_its_length_and_its_special_tokens(
    block: int, chunk: int | None, room: int, text: list[int], around: int
) -> None:
    found, _ = sized.sizes(block, chunk, room)
    before, after = tuple(range(900, 900 + around)), (999,) * around
    for size, ids in zip(found, sized.make(found, text, before, after), strict=True):
        assert len(ids) == max(size.tokens, 2 * around + 1)
        assert ids[:around] == before
        assert ids[len(ids) - around :] == after


def test_no_prompt_begins_as_another_does() -> None:
    found, _ = sized.sizes(128, 512, 1000)
    prompts = sized.make(found, range(3000))
    assert len({ids[:16] for ids in prompts}) == len(prompts)


@pytest.mark.parametrize("chunk", [512, None])
def test_a_prompt_past_two_blocks_has_twins_that_only_a_right_hash_tells_apart(chunk: int | None) -> None:
    found, _ = sized.sizes(128, chunk, 1000, at_the_limit=False)
    prompts = sized.make(found, range(3000))
    (first,) = (ids for ids in prompts if len(ids) == 259)
    *spare, mixed, half = sized.twins(found, 128, range(3000)).values()
    assert len(spare) == (chunk is None)  # the prompt past a chunk serves as the other one
    other = spare[0] if spare else next(ids for ids in prompts if len(ids) == 576)
    assert not set(first) & set(other[:256])
    assert mixed == first[:128] + other[128:259]  # what follows is what the other goes on with
    assert half == first[:64] + other[64:128] + first[256:]
    assert sized.twins(sized.sizes(128, 512, 200)[0], 128, range(3000)) == {}
    assert sized.twins(found, 128, [7]) == {}


def _long(*apart: float) -> LongAnswer:
    return LongAnswer(0, (1,) * len(apart), (0.0,) * len(apart), apart)


def test_one_bad_block_of_a_long_answer_is_not_drowned_in_the_others() -> None:
    sound = [0.01] * 960
    assert verdicts.long_check(_long(*sound), LIMITS).verdict == "pass"
    broken = [*sound[:640], *[0.4] * 64, *sound[704:]]
    found = verdicts.long_check(_long(*broken), LIMITS)
    assert found.verdict == "fail"
    assert "tokens 640 to 703" in found.detail


def test_a_long_answer_that_is_short_or_not_finite_is_judged_too() -> None:
    assert verdicts.long_check(_long(0.01, 0.02), LIMITS).value == pytest.approx(0.015)
    assert verdicts.long_check(_long(0.01, float("nan")), LIMITS).verdict == "fail"
    assert verdicts.long_check(_long(), LIMITS).verdict == "inconclusive"


def test_other_engines_differ_in_one_thing_each(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "run.safetensors", {0: random_logprobs(1)})
    graphs = replace(run, settings=replace(run.settings, eager=False, speculative="ngram, 3 tokens"))
    task = engine.job(FOLDER, "npu", CAUSAL, ["a"], 32)
    chosen, left_out = engine.others(task, CAUSAL, graphs, squeeze=True)
    assert {other.name: dict(other.changes) for other in chosen} == {
        "eager": {"enforce_eager": True},
        "plain": {"speculative_config": None},
        # Blocks of 16: room for one request that fills them all, and vLLM's own block.
        "preempted": {"max_model_len": 128, "num_gpu_blocks_override": 9},
    }
    assert left_out == {}


def test_a_prefix_lm_is_never_preempted_on_purpose(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "run.safetensors", {0: random_logprobs(1)})
    task = engine.job(FOLDER, "cpu", PREFIX_LM, ["a"], 32)
    chosen, left_out = engine.others(task, PREFIX_LM, run, squeeze=True)
    assert chosen == ()
    assert set(left_out) == {"eager", "preempted"}


def test_an_engine_of_another_size_is_held_to_the_same_prompts(tmp_path: Path) -> None:
    """It has fewer prompts that are made to a size, and those behind them have other numbers in it."""
    rows = {n: random_logprobs(n, positions=2, vocabulary=9) for n in range(4)}
    first = greedy_run(tmp_path / "first", rows)
    first = replace(first, prompt_ids=((1,), (2,), (3, 3, 3), (4, 4)))
    answers = {n: completion((n, n)) for n in range(3)}
    passes = {"batch": PassResult(answers, 1.0)}
    other = replace(first, prompt_ids=((1,), (4, 4), (9, 9, 9)), passes=passes)
    kept = of_the_same_prompts(other, first).completions
    assert kept == {0: answers[0], 3: answers[1]}, "one has another number, and one is no prompt of the first"
    # Pictures make prompts alike: those stay what they are by their numbers.
    alike = replace(first, prompt_ids=((5,), (5,), (5,)), passes=passes)
    assert of_the_same_prompts(alike, alike).completions == answers
