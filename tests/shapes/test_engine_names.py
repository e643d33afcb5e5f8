"""Names that vLLM takes for a family's tensors, and transformers does not."""

from __future__ import annotations

from dataclasses import replace

from tests.shapes.reference import tensor
from tests.shapes.test_packed import in_memory
from tests.shapes.test_spellings import LLAVA
from weightsmith.shapes import infer
from weightsmith.shapes.learn.engine_names import Renaming, installed_models, learned, renamings
from weightsmith.shapes.page.page import as_transformers_takes_it
from weightsmith.shapes.reference import meta_models

# As vLLM 0.32 has it for Gemma3ForConditionalGeneration (model_executor/models/gemma3_mm.py).
GEMMA3 = Renaming(
    (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head.", "language_model.lm_head."),
    )
)


def test_a_renaming_is_read_from_the_source_of_the_class() -> None:
    assert renamings(installed_models())["Gemma3ForConditionalGeneration"] == GEMMA3


def test_names_are_renamed_in_the_order_of_the_table_and_some_are_dropped() -> None:
    renaming = Renaming((("a.", "b."), ("b.", "c."), ("mtp.", None)))
    assert [renaming.of(name) for name in ("a.x", "b.x", "d.x", "mtp.x")] == ["c.x", "c.x", "d.x", None]


def test_what_the_page_knows_is_not_learned_again() -> None:
    assert learned(as_transformers_takes_it("gemma3"), GEMMA3) == ()


def test_of_two_beginnings_that_become_one_the_unknown_one_is_learned() -> None:
    renaming = Renaming((("backbone.", "model."),))
    page = replace(as_transformers_takes_it("qwen3"), spellings=())
    (rewrites,) = learned(page, Renaming((*renaming.beginnings, ("model.", "model."))))
    assert rewrites == {"backbone.": "model."}


def test_beginnings_that_vllm_reads_as_other_tensors_are_not_learned() -> None:
    page = as_transformers_takes_it("qwen3")
    assert learned(page, Renaming((("model.", "model."), ("draft.", "draft.model.")))) == ()


def test_a_mistral3_whose_text_lies_where_a_text_model_has_it_agrees() -> None:
    """vLLM takes `model.layers.…` beside `language_model.model.layers.…`; so do the configs of both."""
    text = {**LLAVA["text_config"], "model_type": "mistral", "head_dim": 16}
    vision = {"model_type": "pixtral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
              "num_attention_heads": 2, "image_size": 16, "patch_size": 4}  # fmt: skip
    config = {"model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"],
              "text_config": text, "vision_config": vision}  # fmt: skip
    meta_models.prepare()
    made = meta_models.config_class("mistral3").from_dict(config)
    shapes = meta_models.build("Mistral3ForConditionalGeneration", made).shapes
    other = {
        f"model.{name.removeprefix('language_model.model.')}" if name.startswith("language_model.model.")
        else name if name.startswith("language_model.") else f"model.{name}": shape
        for name, shape in shapes.items()
    }  # fmt: skip
    assert other != shapes
    found = infer(in_memory({n: tensor(n, s) for n, s in other.items()}), config)
    assert found.verdict == "agrees", [row for row in found.fields if row.status == "differs"]
