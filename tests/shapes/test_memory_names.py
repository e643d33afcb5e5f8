"""Names that transformers has in memory: read like those that the family was published under."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shapes.reference import tensor
from tests.shapes.test_packed import in_memory
from tests.shapes.test_spellings import LLAVA
from weightsmith.shapes import infer
from weightsmith.shapes.learn.memory_names import learned, rewrites
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.page.spellings import Spelling
from weightsmith.shapes.reference import meta_models

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
}
QWEN: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "text_config": {"model_type": "qwen2_5_vl_text", **TEXT, "num_key_value_heads": 2},
    "vision_config": {"model_type": "qwen2_5_vl", "depth": 2, "hidden_size": 32, "intermediate_size": 48,
                      "num_heads": 2, "out_hidden_size": 64, "patch_size": 4},
}  # fmt: skip


def in_memory_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    meta_models.prepare()
    made = meta_models.config_class(config["model_type"]).from_dict(config)
    state = meta_models.model_on_meta(config["architectures"][0], made).state_dict()
    return {name: tuple(t.shape) for name, t in state.items()}


@pytest.mark.parametrize(
    ("config", "name"),
    [(QWEN, "model.visual.blocks.0.attn.qkv.weight"), (LLAVA, "model.multi_modal_projector.linear_1.weight")],
)
def test_a_vision_language_model_saved_from_memory_is_read_like_the_published_one(
    config: dict[str, Any], name: str
) -> None:
    shapes = in_memory_shapes(config)
    assert name in shapes and any(n.startswith("model.language_model.") for n in shapes)
    checkpoint = in_memory({n: tensor(n, s) for n, s in shapes.items()})
    found = infer(checkpoint, config)
    assert found.verdict == "agrees" and not found.architecture.unmatched_tensors
    wrong = {**config, "text_config": {**config["text_config"], "num_hidden_layers": 7}}
    (row,) = infer(checkpoint, wrong).changes
    assert (row.name, row.derived) == ("text_config.num_hidden_layers", 2)
    bare = infer(checkpoint, None)
    assert bare.verdict == "guessed" and bare.architecture.model_type == config["model_type"]
    lost = infer(in_memory({n: tensor(n, s) for n, s in shapes.items() if n != name}), config)
    assert lost.architecture.missing_tensors == (name,), "under the name that the checkpoint would have it"


def test_the_tower_of_an_older_version_is_read_in_memory_too() -> None:
    shapes = {
        n.replace("vision_tower.", "vision_tower.vision_model."): s
        for n, s in in_memory_shapes(LLAVA).items()
    }
    assert infer(in_memory({n: tensor(n, s) for n, s in shapes.items()}), LLAVA).verdict == "agrees"


def test_what_is_read_is_written_back() -> None:
    (spelling,) = load_page("qwen2_5_vl").spellings
    for name in ("model.visual.merger.mlp.0.weight", "model.language_model.norm.weight", "lm_head.weight"):
        assert spelling.write(spelling.read(name)) == name


@pytest.mark.parametrize("model_type", ["qwen2_vl", "llava"])
def test_the_table_is_what_the_installed_transformers_does(model_type: str) -> None:
    meta_models.prepare()
    found = learned(model_type)
    assert found is not None and Spelling.of(found.names) in load_page(model_type).spellings


def test_a_beginning_that_says_nothing_is_made_longer_and_what_no_beginnings_explain_is_left() -> None:
    renamed = {
        "model.visual.a.b": "visual.a.b",
        "model.norm.weight": "model.norm.weight",
        "head.weight": "x.head.weight",
    }
    assert rewrites(renamed) == {"model.visual.": "visual.", "head.": "x.head."}
    assert rewrites({"a.b.c": "b.c", "a.b.d": "x.d"}) is None and rewrites({"a.b": "a.b"}) is None
