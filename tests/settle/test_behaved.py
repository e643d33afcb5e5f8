"""What known texts say of settings becomes rows, guesses and problems; what they do not say changes nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.shapes.predicted import predicted, table
from weightsmith.behaviour_finding import BehaviourFinding, Exclusion
from weightsmith.settle.behaved import behaved
from weightsmith.shapes import infer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.value_finding import Telling

LLAMA: JsonObject = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
    "vocab_size": 1000,
    "rope_theta": 10000.0,
    "hidden_act": "gelu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
}
SHAPES = table(predicted(LLAMA))


def again(given: Mapping[str, Json], config: JsonObject | None = LLAMA) -> Inference:
    return infer(SHAPES, config, None, None, given)


def found(*findings: BehaviourFinding, user_set: Mapping[str, Json] | None = None) -> Inference:
    return behaved(again(user_set or {}), LLAMA, user_set or {}, findings, again)


def row(inference: Inference, name: str) -> FieldReport:
    return next(one for one in inference.fields if one.name == name)


THETA = BehaviourFinding(
    "rope_parameters.rope_theta",
    "contradicted",
    10000.0,
    100000.0,
    (100000.0, 200000.0),
    (Exclusion(10000.0, 0.2, 8.0),),
    "10000 is ruled out",
    whole=False,
)
ACTIVATION = BehaviourFinding(
    "hidden_act",
    "contradicted",
    "gelu",
    "silu",
    ("silu",),
    (Exclusion("gelu", 1.0, 9.0),),
    "gelu is out",
    whole=True,
)
TOLD = BehaviourFinding(
    "rms_norm_eps", "told", 1e-6, 1e-6, (1e-6,), (Exclusion(1e-2, 0.3, 5.0),), "1e-06 is allowed", whole=False
)


def test_a_wrong_number_is_a_guess_under_the_files_own_name() -> None:
    inference = found(THETA)
    theta = row(inference, "rope_theta")
    assert (theta.status, theta.basis, theta.configured, theta.derived) == (
        "differs",
        "guess",
        10000.0,
        100000.0,
    )
    assert theta.candidates == (100000.0, 200000.0)
    assert inference.config["rope_theta"] == 100000.0
    assert "rope_parameters" not in inference.config
    assert inference.verdict == "differs"
    (guess,) = inference.guesses
    assert (guess.name, guess.order, guess.settle) == (
        "rope_theta",
        "likelihood",
        "--set rope_theta=100000.0",
    )
    assert not inference.writable(accept_guesses=False)
    assert inference.writable(accept_guesses=True)


def test_a_wrong_word_of_which_one_is_left_is_replaced() -> None:
    inference = found(ACTIVATION)
    act = row(inference, "hidden_act")
    assert (act.status, act.basis, act.derived) == ("differs", "behaviour", "silu")
    assert (act.evidence[0].statistic, act.evidence[0].margin) == (1.0, 9.0)
    assert inference.guesses == ()
    assert inference.writable(accept_guesses=False)


def test_what_is_told_agrees_and_what_is_not_stays() -> None:
    inference = found(TOLD, replace(THETA, telling="not told"))
    assert (row(inference, "rms_norm_eps").status, row(inference, "rms_norm_eps").basis) == (
        "agrees",
        "behaviour",
    )
    assert row(inference, "rope_theta").status == "unverifiable"
    assert inference.verdict == "agrees"


def test_the_users_word_stays_and_is_contradicted() -> None:
    inference = found(THETA, user_set={"rope_theta": 10000.0})
    assert inference.config["rope_theta"] == 10000.0
    assert [problem.code for problem in inference.problems] == ["values"]


@pytest.mark.parametrize(
    "name", ["rope_parameters", "rope_parameters.factor", "rope_parameters.sliding_attention.rope_theta"]
)
def test_what_the_files_dialect_has_no_place_for_is_a_problem(name: str) -> None:
    best: Json = {"rope_type": "default"} if name == "rope_parameters" else 2.0
    inference = found(replace(THETA, name=name, best=best, allowed=(best,)))
    assert inference.verdict == "differs"
    assert [(problem.code, problem.stops_loader) for problem in inference.problems] == [("behaviour", True)]
    assert inference.config == again({}).config


def test_without_a_config_a_wrong_default_is_a_guess() -> None:
    bare = partial(again, config=None)
    inference = behaved(bare({}), None, {}, [THETA], bare)
    named = [guess.name for guess in inference.guesses if guess.order == "likelihood"]
    assert len(named) == 1
    assert inference.verdict == "guessed"


@pytest.mark.parametrize(("guess", "telling"), [(4, "told"), (8, "contradicted")])
def test_the_one_guess_that_is_left_is_told_and_what_goes_with_it(guess: int, telling: Telling) -> None:
    """Bare weights leave open how many heads there are; with the number of them go their width and the key heads."""
    bare = partial(again, config=None)
    before = bare({})
    assert {"num_attention_heads", "num_key_value_heads", "head_dim"} <= {one.name for one in before.guesses}
    out = (Exclusion(8, 2.0, 9.0),)
    heads = BehaviourFinding("num_attention_heads", telling, guess, 4, (4,), out, "8 is out", whole=True)
    inference = behaved(before, None, {}, [heads], bare)
    told = {name: row(inference, name) for name in ("num_attention_heads", "num_key_value_heads", "head_dim")}
    assert {name: one.derived for name, one in told.items()} == {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
    }
    assert {(one.basis, one.candidates) for one in told.values()} == {("behaviour", ())}
    assert not told.keys() & {one.name for one in inference.guesses}
    assert inference.config["num_attention_heads"] == 4


def test_several_guesses_that_are_left_stay_guesses() -> None:
    bare = partial(again, config=None)
    out = (Exclusion(8, 2.0, 9.0),)
    heads = BehaviourFinding("num_attention_heads", "contradicted", 8, 4, (4, 2), out, "8 is out", whole=True)
    inference = behaved(bare({}), None, {}, [heads], bare)
    assert (row(inference, "num_attention_heads").basis, row(inference, "num_attention_heads").derived) == (
        "guess",
        4,
    )
    assert inference.verdict == "guessed"


@pytest.mark.parametrize("name", ["begin-of-text", "end-of-turn"])
def test_what_bears_on_no_field_is_a_problem_of_its_file(name: str) -> None:
    inference = found(replace(TOLD, name=name), replace(TOLD, name=name, telling="contradicted"))
    assert [(one.code, one.stops_loader) for one in inference.problems] == [(name, False)]
    assert name not in [one.name for one in inference.fields]
    assert inference.verdict == "agrees"


@pytest.mark.parametrize(
    ("name", "file"), [("weights-order", ""), ("calibration", ""), ("tokenizer-mismatch", "tokenizer.json")]
)
def test_a_model_that_runs_otherwise_than_it_was_trained_differs(name: str, file: str) -> None:
    inference = found(replace(TOLD, name=name, telling="contradicted"))
    assert [(one.code, one.stops_loader, one.file) for one in inference.problems] == [(name, True, file)]
    assert inference.verdict == "differs"
