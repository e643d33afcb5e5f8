"""What is written loads: lists as long as the model, rules of the class kept, and evidence for all that differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.shapes.predicted import predicted, table
from weightsmith import library
from weightsmith.shapes import infer
from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.page.runs import of_length, spelled_length
from weightsmith.shapes.reference.meta_models import make_config

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.shapes import Inference

SMALL: dict[str, Any] = {
    "num_hidden_layers": 5, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 300,
}  # fmt: skip


def lists(config: Any, prefix: str = "") -> dict[str, int]:
    """Dotted name → length of every list in a config."""
    found: dict[str, int] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= lists(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found[prefix + name] = len(value)
    return found


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "gemma2", "gpt_oss", "exaone4", "olmo3", "smollm3"])
def test_a_derived_config_has_no_list_of_the_class_s_own_length(model_type: str) -> None:
    page = load_page(model_type)
    own = page.fields["num_hidden_layers"].value
    assert isinstance(own, int) and own > 5, "the class's own model has more layers"
    found = infer(table(predicted({"model_type": model_type, **SMALL})), None)
    assert found.verdict == "guessed" and found.config["num_hidden_layers"] == 5
    assert own not in lists(found.config).values()
    assert infer(found.checkpoint, found.config).verdict == "agrees"


@pytest.mark.parametrize(
    "model_type, sizes, computed",
    [
        ("deepseek_v3", {"qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32, "kv_lora_rank": 24,
                         "q_lora_rank": 40, "n_routed_experts": 4, "moe_intermediate_size": 16},
         {"head_dim": 16, "qk_head_dim": 48}),
        ("deberta-v2", {}, {"pooler_hidden_size": 64}),
    ],
)  # fmt: skip
def test_what_the_class_computes_is_left_to_it(
    model_type: str, sizes: dict[str, int], computed: dict[str, int]
) -> None:
    """The class default of such a setting is that of its own model, and no shape would contradict it."""
    stored = {**SMALL, **sizes, "model_type": model_type}
    found = infer(table(predicted(stored)), None)
    assert {n: found.config.get(n, n) for n in computed} == {n: n for n in computed}, "none is written"
    assert {n: getattr(make_config(model_type, stored), n) for n in computed} == computed


def test_a_default_that_the_catalog_knows_in_part_is_not_held_against_the_file() -> None:
    """The class makes one item for each layer: a page that gives fewer does not know the class's own list."""
    config = {"model_type": "glm4_moe_lite", "architectures": ["Glm4MoeLiteForCausalLM"], "num_hidden_layers": 47,
              "hidden_size": 64, "n_routed_experts": 4, "moe_intermediate_size": 16, "intermediate_size": 48,
              "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False}  # fmt: skip
    stored = predicted({**config, "mlp_layer_types": ["dense"] + ["sparse"] * 46})
    assert infer(table(stored), config).changes == ()


def test_a_rule_that_the_file_breaks_is_told_where_no_shape_decides(tmp_path: Path) -> None:
    config = {"model_type": "bert", "architectures": list(load_page("bert").architectures), "hidden_size": 48,
              "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 300}  # fmt: skip
    checkpoint = table(predicted(config))
    assert infer(checkpoint, config).verdict == "agrees"
    found = infer(checkpoint, {**config, "num_attention_heads": 5})
    assert found.verdict == "differs"
    assert "num_attention_heads 5" in found.stopping[0].message
    assert library.infer(checkpoint, output=tmp_path / "out.json").written


def evidence(found: Inference) -> dict[str, bool]:
    return {field.name: bool(field.evidence) for field in found.fields if field.status == "differs"}


def test_every_field_that_differs_names_a_tensor() -> None:
    shapes = predicted({"model_type": "llama", **SMALL, "head_dim": 16})
    lies = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **SMALL, "num_hidden_layers": 7,
            "layer_types": ["full_attention"] * 7}  # fmt: skip
    said = evidence(infer(table(shapes), lies))
    assert {"model_type", "architectures", "num_hidden_layers"} <= said.keys() and all(said.values())
    hrm = {"model_type": "hrm_text", "num_layers_per_stack": 2, "hidden_size": 64, "num_attention_heads": 4}
    said = evidence(infer(table(predicted(hrm)), {**hrm, "num_hidden_layers": 99}))
    assert all(said.values())


def test_what_the_weights_force_to_be_null_is_written_where_the_class_has_a_default() -> None:
    config = {**SMALL, "model_type": "deepseek_v2", "q_lora_rank": None, "moe_intermediate_size": 16,
              "n_routed_experts": 4, "first_k_dense_replace": 1}  # fmt: skip
    assert load_page("deepseek_v2").fields["q_lora_rank"].value is not None
    found = infer(table(predicted(config)), None)
    assert found.config["q_lora_rank"] is None
    assert infer(found.checkpoint, found.config).verdict == "agrees"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"model_type": "qwen3_moe", "num_local_experts": 4, "mlp_only_layers": [1]}, "mlp_only_layers"),
        ({"model_type": "qwen2_moe", "num_experts": 4, "mlp_only_layers": [0, 2]}, "mlp_only_layers"),
        (
            {"model_type": "qwen3_vl", "vision_config": {"deepstack_visual_indexes": [8, 16]}},
            "vision_config.deepstack_visual_indexes",
        ),
    ],
)
def test_a_list_that_names_layers_is_written_though_it_begins_as_the_default_does(
    said: dict[str, Any], name: str
) -> None:
    """Kinds of layers are left to the class, which makes as many as there are; `[]` is no shorter `[1]`."""
    derived = infer(table(predicted(said)), {"model_type": said["model_type"]}).config
    assert lookup(derived, name) == lookup(said, name)


@pytest.mark.parametrize("said", [None, {"model_type": "gpt_neo", "architectures": ["GPTNeoForCausalLM"]}])
def test_kinds_in_runs_are_as_many_as_the_layers(said: dict[str, Any] | None) -> None:
    """GPT-Neo spells its layers out of `[[["global", "local"], 12]]`, and refuses 24 for the 12 of its 125M."""
    small = {"model_type": "gpt_neo", "num_layers": 12, "hidden_size": 96, "vocab_size": 300}
    derived = infer(table(predicted(small)), said).config
    assert lookup(derived, "attention_types") == (True, [[["global", "local"], 6]])
    make_config("gpt_neo", dict(derived))  # the class raises where it takes it for another length


def test_runs_of_another_length_in_the_file_are_repaired() -> None:
    shapes = table(
        predicted({"model_type": "gpt_neo", "num_layers": 12, "hidden_size": 96, "vocab_size": 300})
    )
    said = {"model_type": "gpt_neo", "num_layers": 12, "attention_types": [[["global", "local"], 12]]}
    found = infer(shapes, said)
    assert lookup(found.config, "attention_types") == (True, [[["global", "local"], 6]])
    assert "attention_types" in {field.name for field in found.changes}


def test_runs_that_cannot_be_as_long_are_left_to_their_owner() -> None:
    assert of_length(((("global", "local"), 12),), 7) is None
    assert of_length(((("global",), 1), (("local",), 1)), 4) is None
    assert [spelled_length(items) for items in ([["a", "b"], 3], [[["a", "b"], 3]], ["a"], [])] == [
        2,
        6,
        1,
        0,
    ]
