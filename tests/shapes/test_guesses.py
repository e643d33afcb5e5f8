"""No guess passes for a fact: it is marked, ordered by what people build, and not written without the user's word."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.predicted import predicted, table
from weightsmith import library
from weightsmith.errors import Usage
from weightsmith.shapes import infer
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.guesses import as_text, settings_of
from weightsmith.shapes.page.page import load_page, parse_page
from weightsmith.shapes.solve.choice import ranked
from weightsmith.shapes.solve.published_values import Measure, PublishedValues, counted, published_values
from weightsmith.shapes.solve.relation import Relation, Row

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.shapes import Inference

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 1280, "intermediate_size": 96,
    "num_hidden_layers": 2, "vocab_size": 300, "num_attention_heads": 10, "num_key_value_heads": 2, "head_dim": 128,
    "tie_word_embeddings": True,
}  # fmt: skip
HEADS = {"num_attention_heads", "num_key_value_heads", "head_dim"}


def bare(config: dict[str, Any], **user_set: Any) -> Inference:
    return infer(table(predicted(config)), None, user_set=user_set)


def bases(found: Inference) -> dict[str, str | None]:
    return {field.name: field.basis for field in found.fields}


def test_what_nothing_decides_is_a_guess_and_settled_by_one_word() -> None:
    found = bare(LLAMA)
    assert found.verdict == "guessed"
    assert {guess.name for guess in found.guesses} == HEADS
    assert {name for name, basis in bases(found).items() if basis == "guess"} == HEADS
    (width,) = (guess for guess in found.guesses if guess.name == "head_dim")
    assert (width.value, width.candidates[:3], width.order) == (128, (128, 64, 256), "published")
    assert {width.name, *width.together} == HEADS
    assert settings_of(found.guesses) == width.settle == "--set head_dim=128"


def test_a_config_of_which_the_weights_force_all_is_derived() -> None:
    shapes = predicted({**LLAMA, "model_type": "qwen3"})
    found = infer(table(shapes), None)
    assert found.verdict == "derived" and not found.guesses, "its head norms are as wide as a head"


def test_widths_that_people_build_come_before_those_that_nobody_builds() -> None:
    sizes = {"hidden_size": 1920, "num_attention_heads": 20, "num_key_value_heads": 4, "head_dim": 96}
    (width,) = (guess for guess in bare({**LLAMA, **sizes}).guesses if guess.name == "head_dim")
    order = [width.candidates.index(size) for size in (128, 64, 96, 32, 4)]
    assert order == sorted(order) and width.candidates[0] == 128


def test_a_width_that_the_class_declares_comes_first() -> None:
    heads = {"head_dim": 256, "num_attention_heads": 4, "num_key_value_heads": 1}
    found = bare({**LLAMA, **heads, "model_type": "gemma2"})
    page = load_page("gemma2")
    assert found.architecture.model_type == "gemma2"
    assert page.fields["head_dim"].value == found.config["head_dim"] == 256


def test_heads_that_no_shape_shows_are_as_wide_as_people_build_them() -> None:
    """The class default, 12, does not divide the size."""
    config = {"model_type": "gpt2", "n_embd": 1280, "n_layer": 2, "vocab_size": 300, "n_positions": 32}
    (guess,) = bare(config).guesses
    assert (guess.name, guess.order) == ("n_head", "published")
    assert 20 in guess.candidates[:3] and guess.candidates.index(20) < guess.candidates.index(320)


def test_other_counts_make_another_order() -> None:
    assert published_values().uniformity(Measure("head_dim")) > 0.5
    with counted(PublishedValues({"head_dim": {4: 10}})):
        assert bare(LLAMA).config["head_dim"] == 4
    assert bare(LLAMA).config["head_dim"] == 128


def test_the_user_s_word_decides_what_goes_with_it() -> None:
    found = bare(LLAMA, head_dim=64, max_position_embeddings=77)
    assert found.verdict == "derived" and not found.guesses
    assert {name: found.config[name] for name in HEADS} == {
        "head_dim": 64, "num_attention_heads": 20, "num_key_value_heads": 4,
    }  # fmt: skip
    assert bases(found)["num_attention_heads"] == "weights+config"
    assert found.config["max_position_embeddings"] == 77 and bases(found)["max_position_embeddings"] is None
    heads = next(field for field in found.fields if field.name == "num_attention_heads")
    assert "head_dim = 64 is set" in heads.evidence[0].equation


def test_the_user_s_word_counts_more_than_the_file_and_says_what_else_changes() -> None:
    checkpoint = table(predicted(LLAMA))
    found = infer(checkpoint, LLAMA, user_set={"head_dim": 64, "max_position_embeddings": 77})
    assert found.verdict == "differs"
    assert {f.name: (f.configured, f.derived) for f in found.changes} == {
        "num_attention_heads": (10, 20), "num_key_value_heads": (2, 4), "head_dim": (128, 64),
    }  # fmt: skip
    assert found.config == {
        **LLAMA, "num_attention_heads": 20, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 77,
    }  # fmt: skip
    assert infer(checkpoint, LLAMA, user_set={"head_dim": 128}).verdict == "agrees"


@pytest.mark.parametrize("config", [None, LLAMA])
@pytest.mark.parametrize(
    ("user_set", "words"),
    [
        ({"head_dim": 100}, "--set head_dim=100: head_dim can be 128, 64, 256"),
        ({"hidden_size": 640}, "--set hidden_size=640: hidden_size is 1280"),
        ({"head_dim": 64, "num_attention_heads": 10}, "--set head_dim=64"),
        ({"head_dim": "wide"}, "--set head_dim=wide"),
    ],
)
def test_what_the_weights_rule_out_is_told_and_not_taken(
    config: dict[str, Any] | None, user_set: dict[str, Any], words: str, tmp_path: Path
) -> None:
    found = infer(table(predicted(LLAMA)), config, user_set=user_set)
    (problem,) = (problem for problem in found.problems if problem.code == "set")
    assert found.verdict == "differs" and words in problem.message and problem.stops_loader
    assert {name: found.config[name] for name in HEADS} == {name: LLAMA[name] for name in HEADS}
    write_headers_only(tmp_path, predicted(LLAMA))
    assert library.infer(tmp_path, set=user_set, write=True, accept_guesses=True).written is None


def test_a_name_that_the_family_does_not_have_is_refused_with_those_near_it() -> None:
    with pytest.raises(Usage, match="llama has no such field; did you mean head_dim"):
        bare(LLAMA, heddim=64)
    with pytest.raises(Usage, match=r"rope_parameters\.rope_theta"):
        bare(LLAMA, rope_theta=1e6)
    with pytest.raises(Usage, match="use --model-type"):
        bare(LLAMA, model_type="qwen2")
    found = bare(LLAMA, head_dim=128, **{"rope_parameters.rope_theta": 1e6, "torch_dtype": "float16"})
    assert found.config["rope_parameters"] == {"rope_theta": 1e6, "rope_type": "default"}
    assert found.config["torch_dtype"] == "float16" and found.verdict == "derived"


def test_a_setting_under_another_name_is_the_same_setting() -> None:
    shapes = predicted(
        {"model_type": "gpt2", "n_embd": 1280, "n_layer": 2, "vocab_size": 300, "n_positions": 32}
    )
    for name in ("n_head", "num_attention_heads"):
        found = infer(table(shapes), None, user_set={name: 10})
        assert found.verdict == "derived" and found.config["n_head"] == 10


def test_a_config_that_leaves_out_what_no_weight_tells_is_guessed() -> None:
    """Without head_dim the class takes 1280 / 32 channels for a head, and the weights have 10 or 20 heads, not 32."""
    shapes = predicted(LLAMA)
    silent = {name: value for name, value in LLAMA.items() if name not in HEADS}
    found = infer(table(shapes), silent)
    assert found.verdict == "guessed" and {guess.name for guess in found.guesses} <= HEADS
    assert infer(table(shapes), {**silent, "vocab_size": 301}).verdict == "differs", (
        "a contradiction is certain"
    )
    found = infer(table(shapes), silent, user_set={"head_dim": 128})
    assert not found.guesses and {name: found.config[name] for name in HEADS} == {
        name: LLAMA[name] for name in HEADS
    }


def test_a_guess_is_written_only_when_it_is_accepted(tmp_path: Path) -> None:
    write_headers_only(tmp_path, predicted(LLAMA))
    assert library.infer(tmp_path, write=True).written is None
    assert not (tmp_path / "config.json").exists()
    assert library.infer(tmp_path, output=tmp_path / "other.json").written is None
    assert library.infer(tmp_path, set={"head_dim": 64}, output=tmp_path / "set.json").written
    assert json.loads((tmp_path / "set.json").read_text())["num_attention_heads"] == 20
    assert library.infer(tmp_path, write=True, accept_guesses=True).written
    assert library.infer(tmp_path).verdict == "agrees"


def test_heads_of_their_own_numbers_are_not_tied(tmp_path: Path) -> None:
    """Without a config the bytes are compared: what differs cannot be a copy."""
    shapes = predicted({**LLAMA, "tie_word_embeddings": False})
    (file,) = write_headers_only(tmp_path, shapes)
    assert "tie_word_embeddings" in {guess.name for guess in library.infer(tmp_path).guesses}, (
        "both are empty"
    )
    tensor = library.open(tmp_path).tensors["lm_head.weight"]
    with file.open("r+b") as data:
        data.seek(tensor.storage.start)
        data.write(b"\x01" * tensor.nbytes)
    found = library.infer(tmp_path)
    assert bases(found)["tie_word_embeddings"] == "weights" and found.config["tie_word_embeddings"] is False


@pytest.mark.parametrize(
    ("value", "text"),
    [(64, "64"), (None, "null"), ("eager", "eager"), ("64", '"64"'), ([1, "a"], '[1, "a"]'), (True, "true")],
)
def test_a_value_is_told_as_the_command_line_reads_it(value: Any, text: str) -> None:
    from weightsmith.cli.options import settings

    assert as_text(value) == text
    assert settings("--set", (f"x={text}",)) == {"x": value}


def test_what_is_computed_from_a_class_default_is_not_called_forced() -> None:
    """HRM-Text has as many layers as its stacks times its cycles, and no shape depends on the cycles."""
    hrm = {"model_type": "hrm_text", "num_layers_per_stack": 2, "hidden_size": 64, "num_attention_heads": 4}
    assert bases(bare(hrm))["num_hidden_layers"] is None
    found = bare(hrm, H_cycles=2, L_cycles=1)
    assert bases(found)["num_hidden_layers"] == "weights+config"


def test_a_class_default_is_no_word_that_makes_something_forced() -> None:
    """Without a file the user's word on one field does not make the default of another one a fact."""
    page = parse_page({"model_type": "x", "fields": {"width": 3, "flag": False}, "tensors": {"t": "width"}})
    pairs = [(1, True), (1, False), (2, True)]
    rows = tuple(Row({"width": width, "flag": flag}) for width, flag in pairs)
    relation = Relation("sizes", frozenset({"width", "flag"}), rows)
    every, cheapest = ranked(relation, {}, Stated.by_user(None, page, {"width": 1}))
    assert cheapest.rows[0].values == {"width": 1, "flag": False}, "it is written all the same"
    assert (cheapest.values("width"), cheapest.values("flag")) == ((1,), (False, True))
    assert (every.told("width"), every.told("flag")) == ((1, 2), (False, True))
