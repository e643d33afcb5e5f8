"""Models that are nothing but models side by side: learned one by one, joined in one page, and read as one."""

from __future__ import annotations

from typing import Any

import pytest

from weightsmith.shapes.learn import part_pages
from weightsmith.shapes.learn.probe.builder import Lab
from weightsmith.shapes.learn.probe.starting_config import is_field, state_required
from weightsmith.shapes.page.composition import as_part
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.config_fields import flatten

WHOLE: dict[str, Any] = {"model_type": "whole", "fields": {"speaks": True}, "tensors": {}}
TALKER: dict[str, Any] = {
    "model_type": "talker",
    "architectures": ["Talker"],
    "fields": {"width": 8, "layers": 2, "rank": None},
    "rules": ["width % 2 == 0"],
    "tensors": {
        "layers.{layer:layers}.up.weight": "2 * width, width",
        "layers.{layer:layers}.low.weight": ["rank, width if rank or layer == 1", "width"],
    },
}


def test_a_part_is_in_the_whole_under_its_own_names_and_only_with_the_flag_that_builds_it() -> None:
    moved = as_part(TALKER, "talker_config", "talker.")  # type: ignore[arg-type]  # a page as its file has it
    tensors = part_pages._switched(dict(moved["tensors"]), "speaks")
    page = parse_page({**WHOLE, "fields": {**WHOLE["fields"], **moved["fields"]}, "tensors": tensors})
    (patterns,) = page.layouts.values()
    values = {"speaks": True, "talker_config.width": 4, "talker_config.layers": 2, "talker_config.rank": 3}
    assert predict(patterns, values) == {
        "talker.layers.0.up.weight": (8, 4),
        "talker.layers.1.up.weight": (8, 4),
        "talker.layers.0.low.weight": (3, 4),
        "talker.layers.1.low.weight": (3, 4),
    }
    assert predict(patterns, {**values, "talker_config.rank": 0})["talker.layers.0.low.weight"] == (4,)
    assert predict(patterns, {**values, "speaks": False}) == {}
    assert moved["rules"] == ["talker_config.width % 2 == 0"]


def test_the_parts_of_a_model_are_found_with_the_flag_that_leaves_them_out() -> None:
    meta_models.prepare()
    lab = part_pages._lab("qwen3_omni_moe")
    assert lab is not None
    found = {part.section: (part.name, part.switch) for part in part_pages.parts_of(lab)}
    assert found == {
        "thinker_config": ("thinker", ""),
        "talker_config": ("talker", "enable_audio_output"),
        "code2wav_config": ("code2wav", "enable_audio_output"),
    }
    # Any type may stand in the place of an inner one, or the settings are few.
    assert part_pages._lab("llava") is None and part_pages._lab("blip") is None


def test_a_setting_that_no_class_declares_and_nothing_builds_without_is_stated() -> None:
    meta_models.prepare()
    lab = Lab("moonshine_streaming", meta_models.architectures("moonshine_streaming"))
    assert lab.observe({}) is None
    state_required(lab, flatten(lab.config({})))
    assert lab.base == {"num_key_value_heads": 8}, "as its encoder has it"
    assert lab.hidden == {"num_key_value_heads": None} and lab.observe({}) is not None


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("audio_config.output_dim", True),
        ("output_embedding_size", True),
        ("vision_config.output_channels", True),
        ("output_attentions", False),
        ("text_config.output_router_logits", False),
        ("output_hidden_states", False),
    ],
)
def test_what_a_call_puts_out_is_no_setting_of_tensors_and_how_wide_its_output_is_is_one(
    name: str, counts: bool
) -> None:
    assert is_field(name) is counts
