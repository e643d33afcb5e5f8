"""What the likelihood of texts rules out, on scores of which the truth is known."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.verify.likelihood.judge import FLOOR, SURE, TEMPERATURES, compare, known_texts
from weightsmith.verify.likelihood.ordering import Ordering
from weightsmith.verify.likelihood.orders import Order
from weightsmith.verify.likelihood.questions import Question, at_path, questions_of, with_value
from weightsmith.verify.likelihood.search import NEAR, Search, begun
from weightsmith.verify.likelihood.words import finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from weightsmith.json_value import Json
    from weightsmith.verify.likelihood.judge import Scores

TOKENS = 400
VOCABULARY = 1000


def noise(seed: int) -> NDArray[np.float32]:
    """How likely each token is, before anything is lost, at one temperature."""
    return -np.random.default_rng(seed).gamma(1.0, 2.0, (1, TOKENS)).astype(np.float32)


def world(
    loss: Callable[[Json], float | None], seed: int, spread: float = 0.1
) -> Callable[[Json], Scores | None]:
    """Value of a setting → the scores of its model. loss: nats per token; None where no model is built."""

    def scores(value: Json) -> Scores | None:
        nats = loss(value)
        if nats is None:
            return None
        draw = np.random.default_rng([seed, zlib.crc32(repr(value).encode())]).normal(1.0, 1.0, TOKENS)
        return {"text": noise(seed) - np.float32(nats) * draw.astype(np.float32) * spread * 10}

    return scores


def searched(question: Question, scores: Callable[[Json], Scores | None], stated: Json = None) -> Search:
    """A search that is through."""
    own = scores(question.value)
    assert own is not None
    search = begun(question, VOCABULARY, own, question.value if stated is None else stated)
    for _ in range(60):
        steps = search.next()
        if not steps:
            return search
        for value, at in steps:
            search = search.plus(value, at, scores(value))
    raise AssertionError("it does not end")


def dial(value: float) -> Question:
    return Question(("theta",), value, "dial")


@given(st.integers(0, 10_000), st.floats(0, 2))
def test_what_one_loses_the_other_gains(seed: int, nats: float) -> None:
    one, other = {"a": noise(seed)}, {"a": noise(seed) - np.float32(nats)}
    there, back = compare(one, other, ["a"]), compare(other, one, ["a"])
    assert there is not None
    assert back is not None
    assert there.nats == pytest.approx(-back.nats)
    assert there.nats == pytest.approx(nats, abs=1e-5)
    assert not back.rules_out


def test_much_is_not_enough_and_sure_is_not_enough() -> None:
    """A tenth of a nat that is all noise, and a thousandth that every token loses, rule out nothing."""
    rough = np.random.default_rng(0).normal(0.0, 3.0, TOKENS).astype(np.float32)
    noisy = compare({"a": noise(1)}, {"a": noise(1) - (rough - rough.mean() + np.float32(0.1))}, ["a"])
    steady = compare({"a": noise(1)}, {"a": noise(1) - np.float32(0.001)}, ["a"])
    assert noisy is not None
    assert steady is not None
    assert noisy.nats > FLOOR
    assert noisy.z < SURE
    assert steady.z > SURE
    assert not noisy.rules_out
    assert not steady.rules_out


@given(st.integers(0, 10_000), st.floats(0.8, 1.25))
def test_a_sibling_that_is_only_surer_rules_nothing_out(seed: int, warmth: float) -> None:
    """Logits of which one model has all divided: at its best temperature the other loses next to nothing."""
    draw = np.random.default_rng(seed)
    logits, said = draw.normal(0.0, 2.0, (TOKENS, 50)), draw.integers(0, 50, TOKENS)
    logits[np.arange(TOKENS), said] += 3.0
    plain, other = (as_scores(logits / one, said) for one in (1.0, warmth))
    for best, rest in ((plain, other), (other, plain)):
        evidence = compare(best, rest, ["a"])
        assert evidence is not None
        assert not evidence.rules_out


def as_scores(logits: NDArray[np.float64], said: NDArray[np.int64]) -> Scores:
    """What a model of these logits [tokens, vocabulary] says of its tokens."""
    rows = (logits / one - np.log(np.exp(logits / one).sum(1, keepdims=True)) for one in TEMPERATURES)
    return {"a": np.stack([row[np.arange(len(said)), said] for row in rows]).astype(np.float32)}


def test_who_is_only_less_sure_of_nonsense_is_not_better() -> None:
    """Weights that lie wrong say nonsense with confidence; whatever takes that away is likelier, and no answer."""
    texts = {str(n): noise(n)[:, :40] / 2 for n in range(6)}
    lost = {name: one - (40.0 if name == "5" else 3.0) for name, one in texts.items()}
    vague = {name: one[:, ::-1] + 2 for name, one in lost.items()}
    right = {name: one[:, ::-1] for name, one in texts.items()}
    surely = compare(vague, lost, texts)
    assert surely is not None
    assert surely.rules_out
    assert Ordering(lost, ((Order("", {}), vague), (Order("", {}), right)), VOCABULARY).better is None


def test_a_text_that_costs_nearly_a_draw_is_unknown() -> None:
    draw = math.log(VOCABULARY)
    models = [
        {
            "known": np.full((1, 90), -draw / 3, np.float32),
            "unknown": np.full((1, 90), -draw * 0.9, np.float32),
        }
    ]
    assert known_texts(models, VOCABULARY) == {"known"}
    few = [{name: one[:, :9] for name, one in model.items()} for model in models]
    assert known_texts(few, VOCABULARY) == frozenset(), "nine tokens may be known by chance"


@settings(max_examples=60, derandomize=True)
@given(st.floats(1e-3, 1e6), st.floats(-10, 10), st.integers(0, 500))
def test_the_true_value_of_a_dial_stays_and_far_ones_go(true: float, off: float, seed: int) -> None:
    """The texts lose a quarter of a nat for each doubling away from the truth, wherever the config begins."""
    scores = world(lambda value: 0.25 * abs(math.log2(float(value) / true)), seed)  # type: ignore[arg-type]
    search = searched(dial(true * 2.0**off), scores)
    out = search.ruled_out()
    steps = sorted(one.at for one in search.tried)
    below, above = (
        max(at for at in steps if at < -off and at in out),
        min(at for at in steps if at > -off and at in out),
    )
    assert below < -off < above
    inside = [one.at for one in search.tried if below < one.at < above]
    assert min(inside) - below <= NEAR
    assert above - max(inside) <= NEAR
    assert len(search.tried) < 30
    told = finding(search)
    assert (told.telling == "contradicted") == (0.0 in out)


def test_a_wrong_number_is_answered_with_one_that_people_write() -> None:
    scores = world(lambda value: 0.3 * abs(math.log2(float(value) / 1e5)), 3)  # type: ignore[arg-type]
    told = finding(searched(dial(160_000.0), scores, 10_000.0))
    assert told.telling == "contradicted"
    assert told.best == 100_000.0
    assert 10_000.0 in [one.value for one in told.ruled_out]
    assert not told.whole


def test_what_the_file_says_is_tried_where_it_is_no_number() -> None:
    """A window that was missing, after the config was mended to have one."""
    scores = world(lambda value: 1.0 if value is None else 0.01 * abs(math.log2(float(value) / 64)), 9)  # type: ignore[arg-type]
    own = scores(64)
    assert own is not None
    search = begun(Question(("sliding_window",), 64, "dial"), VOCABULARY, own, None)
    for _ in range(20):
        for value, at in search.next():
            search = search.plus(value, at, scores(value))
    told = finding(search)
    assert search.next() == ()
    assert told.telling == "contradicted"
    assert None in [one.value for one in told.ruled_out]
    assert "null is ruled out" in told.says


def test_what_only_grows_worse_one_way_is_not_told() -> None:
    """A norm's epsilon: all small ones are alike."""
    scores = world(lambda value: max(0.0, math.log2(float(value) / 1e-3)), 4)  # type: ignore[arg-type]
    told = finding(searched(dial(1e-6), scores))
    assert told.telling == "not told"
    assert told.ruled_out
    assert all(isinstance(one.value, float) and one.value > 1e-4 for one in told.ruled_out)


def test_a_size_that_shapes_hold_is_asked_twice_and_no_more() -> None:
    search = searched(dial(512.0), world(lambda value: 0.0 if value == 512.0 else None, 5))
    assert not search.acts
    assert set(search.refused.values()) == {1024.0, 256.0}


@pytest.mark.parametrize("stated", [1, 2, 3])
def test_a_window_that_is_far_too_small_is_led_to_the_true_one(stated: int) -> None:
    """Two or three tokens are little better than one: the next doubling is asked while the last one helped."""
    question = Question(("sliding_window",), stated, "count")
    found = searched(question, world(lambda value: max(0.0, 0.4 - 0.1 * math.log2(float(value))), seed=3))  # type: ignore[arg-type]
    assert {one.value for one in found.allowed()} & set(range(12, 33))
    assert finding(found).telling == "contradicted"


def test_a_count_is_told_where_its_neighbours_lose() -> None:
    question = Question(("num_experts_per_tok",), 2, "count")
    told = finding(searched(question, world(lambda value: 0.4 * abs(value - 2), 6)))  # type: ignore[operator]
    assert told.telling == "told"
    assert told.allowed == (2,)
    assert {one.value for one in told.ruled_out} == {1, 3, 4}


def test_a_switch_that_is_wrong_has_one_answer() -> None:
    question = Question(("norm_topk_prob",), False, "choice", (True,))
    told = finding(searched(question, world(lambda value: 0.0 if value else 0.7, 7)))
    assert (told.telling, told.best, told.allowed, told.whole) == ("contradicted", True, (True,), True)
    assert "likelier with true" in told.says


def test_of_a_model_that_knows_no_text_nothing_is_said() -> None:
    question = Question(("hidden_act",), "silu", "choice", ("relu",))
    lost = math.log(VOCABULARY)
    told = finding(searched(question, world(lambda value: lost + (2.0 if value == "relu" else 0.0), 8)))
    assert told.telling == "not told"
    assert told.ruled_out == ()


def test_what_is_asked_of_a_config() -> None:
    config: dict[str, Json] = {
        "hidden_act": "silu",
        "attention_dropout": 0.1,
        "eos_token_id": 2,
        "rms_norm_eps": 1e-6,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "final_logit_softcapping": None,
        "return_dict": True,
        "layer_types": ["full_attention", "sliding_attention"],
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
        "vision_config": {"hidden_act": "gelu"},
        "text_config": {"rope_theta": 1e6},
    }
    asked = {one.name: one for one in questions_of(config, {"return_dict": True})}
    assert {name: one.kind for name, one in asked.items()} == {
        "hidden_act": "choice",
        "rms_norm_eps": "dial",
        "num_experts_per_tok": "count",
        "norm_topk_prob": "choice",
        "final_logit_softcapping": "choice",
        "layer_types": "choice",
        "rope_parameters": "choice",
        "rope_parameters.factor": "dial",
        "rope_parameters.rope_theta": "dial",
        "text_config.rope_theta": "dial",
    }
    assert {"rope_theta": 1e4, "rope_type": "default"} in asked["rope_parameters"].options
    assert ["sliding_attention", "full_attention"] in asked["layer_types"].options
    changed = with_value(config, ("rope_parameters", "factor"), 4.0)
    assert at_path(changed, ("rope_parameters", "factor")) == 4.0
    assert at_path(config, ("rope_parameters", "factor")) == 2.0


@pytest.mark.parametrize("count", [2, 4, 5])
def test_no_value_of_a_count_is_asked_twice(count: int) -> None:
    search = begun(Question(("n_head",), count, "count"), VOCABULARY, {"text": noise(0)}, count)
    values = [value for value, _ in search.next()]
    assert len(values) == len(set(values))
