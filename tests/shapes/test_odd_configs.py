"""A config in which something else stands where a class expects a name, a number, a flag or an object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.structures import small_model
from tests.shapes.predicted import table
from weightsmith.shapes import infer
from weightsmith.shapes.field_reports import edits, removed
from weightsmith.shapes.given.config import assign, with_values
from weightsmith.shapes.repair import corrected_text

if TYPE_CHECKING:
    from weightsmith.json_value import Json

ODD: tuple[Json, ...] = ({"a": [{}]}, [[1], {}], "x", 1.5, 10**120, float("inf"))


def corrected(model_type: str, name: str, value: Json) -> tuple[str, Any]:
    """The verdict, and the corrected config, which is the same as text and as values."""
    _, config, shapes = small_model(model_type)
    config = with_values(config, {name: value})
    found = infer(table(shapes), config)
    if found.restructured or found.verdict == "unknown":
        return found.verdict, found.config
    text = corrected_text(
        json.dumps(config), edits(config, found.fields, found.user_set), removed(found.fields)
    )
    assert json.loads(text) == found.config
    return found.verdict, found.config


@pytest.mark.parametrize("value", ODD, ids=["object", "list", "word", "fraction", "huge", "infinite"])
@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        *(("llama", name) for name in ("architectures", "model_type", "auto_map", "quantization_config")),
        *(("llama", name) for name in ("tie_word_embeddings", "num_hidden_layers", "head_dim")),
        *(("gemma3_text", name) for name in ("tie_word_embeddings", "layer_types")),
        *(("gemma3", name) for name in ("text_config", "vision_config")),
        *(("pi0", name) for name in ("vlm_config", "vlm_config.text_config")),
        *(("zamba2", "layer_types"), ("mbart", "encoder_layers"), ("bert", "id2label")),
        ("deepseek_v3", "n_routed_experts"),
    ],
)
def test_whatever_stands_there_is_a_verdict(model_type: str, name: str, value: Json) -> None:
    corrected(model_type, name, value)


@pytest.mark.parametrize("value", [5, [None], "word", True])
def test_what_is_no_object_of_settings_is_replaced(value: Json) -> None:
    verdict, config = corrected("qwen3_vl", "vision_config", value)
    assert verdict == "differs" and isinstance(config["vision_config"], dict | None)


def test_null_stands_for_the_class_s_own_object() -> None:
    verdict, config = corrected("gemma3", "vision_config", None)
    assert verdict in ("agrees", "differs") and "architectures" in config


def test_a_setting_is_changed_in_a_copy() -> None:
    before: dict[str, Json] = {"a": {"b": {"c": 1}}, "d": 5}
    after = with_values(before, {"a.b.c": 2, "d.e": 3, "f.g": 4})
    assert after == {"a": {"b": {"c": 2}}, "d": {"e": 3}, "f": {"g": 4}}
    assert before == {"a": {"b": {"c": 1}}, "d": 5}
    assign(after, "a", 1)
    assert after["a"] == 1
