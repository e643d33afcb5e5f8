"""A model whose parts are of the types that its config names, and not those that its class has by default."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from tests.shapes.predicted import table
from tests.shapes.test_memory_names import in_memory_shapes
from weightsmith.shapes import infer
from weightsmith.shapes.family.inner_types import explaining_types, page_with, stated_types
from weightsmith.shapes.page.composition import part_alone
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.reference.meta_models import build, config_class, prepare
from weightsmith.shapes.reference.proof import check

if TYPE_CHECKING:
    from weightsmith.shapes.page.page_file import PageDocument

TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
INTERN: dict[str, Any] = {
    "model_type": "internvl", "architectures": ["InternVLForConditionalGeneration"],
    "vision_config": {"model_type": "internvl_vision", **VISION, "image_size": [28, 28], "patch_size": [14, 14]},
}  # fmt: skip
LLAVA: dict[str, Any] = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}
SIGLIP = {"model_type": "siglip_vision_model", **VISION, "vision_use_head": False}
QWEN3: dict[str, Any] = {"model_type": "qwen3", **TEXT, "head_dim": 32}
QWEN3_MOE: dict[str, Any] = {
    **QWEN3,
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "moe_intermediate_size": 24,
}
GEMMA2: dict[str, Any] = {"model_type": "gemma2", **TEXT, "head_dim": 32}
MODELS: dict[str, dict[str, Any]] = {
    "qwen3 in InternVL": {**INTERN, "text_config": QWEN3},
    "qwen3_moe in InternVL": {**INTERN, "text_config": QWEN3_MOE},
    "qwen2 and siglip in LLaVA": {**LLAVA, "text_config": {"model_type": "qwen2", **TEXT}, "vision_config": SIGLIP},
    "mistral and pixtral in LLaVA": {
        **LLAVA,
        "text_config": {"model_type": "mistral", **TEXT, "head_dim": 32},
        "vision_config": {"model_type": "pixtral", **VISION},
    },
    "gemma2 in PaliGemma": {
        "model_type": "paligemma", "architectures": ["PaliGemmaForConditionalGeneration"], "projection_dim": 64,
        "text_config": GEMMA2, "vision_config": {**SIGLIP, "projection_dim": 64},
    },
}  # fmt: skip


def saved(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    prepare()
    return dict(
        build(config["architectures"][0], config_class(config["model_type"]).from_dict(config)).shapes
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_are_read_as_the_types_that_the_config_names(name: str) -> None:
    config = MODELS[name]
    checkpoint = table(saved(config))
    assert infer(checkpoint, config).verdict == "agrees" and check(config, checkpoint).holds
    wrong = copy.deepcopy(config)
    wrong["text_config"] |= {"num_hidden_layers": 5, "intermediate_size": 80}
    changes = {row.name: row.derived for row in infer(checkpoint, wrong).changes}
    moe = (
        "moe" in config["text_config"]["model_type"]
    )  # no layer is dense: nothing tells how wide one would be
    assert changes == {"text_config.num_hidden_layers": 3} | (
        {} if moe else {"text_config.intermediate_size": 96}
    )


def test_experts_of_an_inner_type_are_read_in_every_layout_that_it_has() -> None:
    config = {**MODELS["qwen3_moe in InternVL"], "tie_word_embeddings": False}
    shapes = in_memory_shapes(config)
    assert shapes["model.language_model.layers.0.mlp.experts.gate_up_proj"] == (4, 48, 64)
    assert infer(table(shapes), config).verdict == "agrees"


def test_a_part_of_one_class_and_a_type_that_nobody_knows_are_left_as_they_are() -> None:
    assert stated_types("qwen2_5_vl", {"text_config": {"model_type": "qwen3"}}) == ()
    assert stated_types("llava", {"text_config": {"model_type": "nobody_has_this"}}) == ()
    assert stated_types("llava", {"text_config": {"model_type": "llama"}}) == ()


def test_what_other_parts_and_the_class_say_stays() -> None:
    page = page_with("llava", (("text_config", "qwen2"),))
    assert (
        page.base["text_config.model_type"] == "qwen2"
        and page.base["vision_config.model_type"] == "clip_vision_model"
    )
    assert page.fields["tie_word_embeddings"].expression == "text_config.tie_word_embeddings"
    texts = {p.text for p in page.layouts[""]}
    assert "vision_tower.pre_layrnorm.weight" in texts and "language_model.lm_head.weight" in texts
    assert any(text.endswith("self_attn.q_proj.bias") for text in texts), "which llama has not always"


@pytest.mark.parametrize(
    ("name", "types"),
    [
        (
            "qwen3 in InternVL",
            {"text_config.model_type": "qwen3", "vision_config.model_type": "internvl_vision"},
        ),
        (
            "qwen2 and siglip in LLaVA",
            {"text_config.model_type": "qwen2", "vision_config.model_type": "siglip_vision_model"},
        ),
        (
            "gemma2 in PaliGemma",
            {"text_config.model_type": "gemma2", "vision_config.model_type": "siglip_vision_model"},
        ),
    ],
)
def test_the_types_are_told_from_the_tensors_where_the_config_does_not_say_them(
    name: str, types: dict[str, str]
) -> None:
    config = {**MODELS[name], "tie_word_embeddings": False}
    checkpoint = table(saved(config))
    bare = infer(checkpoint, None)
    assert bare.architecture.model_type == config["model_type"]
    derived = {row.name: row.derived for row in bare.fields if row.name.endswith("model_type")}
    assert derived == types
    lying = copy.deepcopy(config)
    lying["text_config"]["model_type"] = "gpt2"
    (row,) = infer(checkpoint, lying).changes
    assert (row.name, row.configured, row.derived) == ("text_config.model_type", "gpt2", types[row.name])
    assert row.evidence and row.status == "differs"


def test_types_that_no_tensor_tells_apart_are_all_named() -> None:
    config = MODELS["mistral and pixtral in LLaVA"]
    fields = {row.name: row for row in infer(table(saved(config)), None).fields}
    assert fields["vision_config.model_type"].derived == "pixtral"
    assert fields["text_config.model_type"].derived == "llama", "what the class has by default"


def test_types_are_looked_for_only_where_names_are_not_explained_and_every_part_is_there() -> None:
    config = MODELS["qwen3 in InternVL"]
    keys = {name_key(name) for name in saved(config)}
    assert (("text_config", "qwen3"),) in explaining_types("internvl", keys)
    assert not list(explaining_types("internvl", keys, (("text_config", "qwen3"),)))
    assert not list(explaining_types("internvl", {k for k in keys if not k.startswith("vision_tower.")}))


def test_a_part_whose_equations_read_settings_of_others_is_no_page_of_its_own() -> None:
    page: PageDocument = {
        "model_type": "x", "fields": {"width": 4, "part.size": 8}, "tensors": {"part.a": "part.size", "b": "width"},
    }  # fmt: skip
    alone = part_alone(page, "part", "part.")
    assert alone is not None and alone["tensors"] == {"a": "size"} and alone["fields"] == {"size": 8}
    page["tensors"]["part.c"] = "part.size, width"
    assert part_alone(page, "part", "part.") is None
