"""Models that are nothing but models side by side: learned one by one, joined in one page, and read as one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from benchmarks.shapes import in_memory
from weightsmith.shapes import infer
from weightsmith.shapes.given.config import assign, lookup
from weightsmith.shapes.learn import part_pages
from weightsmith.shapes.learn.names import is_field
from weightsmith.shapes.learn.probe.builder import Lab
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.learn.probe.starting_config import state_required
from weightsmith.shapes.page.composition import as_part
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.config_fields import flatten

WHY = "a test asks"
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

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10}
SOUND = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
SEEN = {"hidden_size": 24, "depth": 2, "num_heads": 2, "intermediate_size": 40, "out_hidden_size": 64}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 14}
OMNI: dict[str, Any] = {
    "model_type": "qwen3_omni_moe",
    "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
    "enable_audio_output": True,
    "thinker_config": {
        "text_config": {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 300, **HEADS, **EXPERTS},
        "audio_config": {**SOUND, "num_mel_bins": 16, "downsample_hidden_size": 12, "output_dim": 64},
        "vision_config": {**SEEN, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
    },
    "talker_config": {
        "thinker_hidden_size": 64,
        "spatial_merge_size": 2,
        "text_config": {
            **{"hidden_size": 48, "num_hidden_layers": 2, "vocab_size": 90, **HEADS, **EXPERTS},
            **{"intermediate_size": 72, "shared_expert_intermediate_size": 26},
        },
        "code_predictor_config": {
            **{"hidden_size": 48, "num_hidden_layers": 2, "vocab_size": 70, **HEADS},
            **{"intermediate_size": 88, "num_code_groups": 4},
        },
    },
    "code2wav_config": {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2},
        **{"intermediate_size": 52, "codebook_size": 70, "num_quantizers": 4, "decoder_dim": 48},
    },
}


def test_qwen3_omni_is_told_with_and_without_its_talker() -> None:
    meta_models.prepare()
    config = meta_models.config_class("qwen3_omni_moe").from_dict(copy.deepcopy(OMNI))
    shapes = meta_models.build(OMNI["architectures"][0], config).shapes
    assert infer(in_memory(shapes), OMNI).verdict == "agrees"
    for path, lie in (
        ("thinker_config.audio_config.output_dim", 48),
        ("talker_config.text_config.shared_expert_intermediate_size", 24),
        ("code2wav_config.num_hidden_layers", 3),
    ):
        wrong = copy.deepcopy(OMNI)
        right = lookup(wrong, path)[1]
        assign(wrong, path, lie)
        assert [(f.name, f.derived) for f in infer(in_memory(shapes), wrong).changes] == [(path, right)]
    silent = {name: shape for name, shape in shapes.items() if name.startswith("thinker.")}
    assert infer(in_memory(silent), {**OMNI, "enable_audio_output": False}).verdict == "agrees"
    changes = infer(in_memory(silent), OMNI).changes
    assert [(f.name, f.derived) for f in changes] == [("enable_audio_output", False)]


def test_without_a_config_what_a_class_reads_and_declares_no_default_for_is_stated() -> None:
    """The talker of Qwen3-Omni asks how many patches the thinker's tower merges; a config without it is refused."""
    meta_models.prepare()
    config = meta_models.config_class("qwen3_omni_moe").from_dict(copy.deepcopy(OMNI))
    found = infer(in_memory(meta_models.build(OMNI["architectures"][0], config).shapes), None)
    tower = lookup(found.config, "thinker_config.vision_config.spatial_merge_size")[1]
    assert lookup(found.config, "talker_config.spatial_merge_size")[1] == tower == 2


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
    assert lab.observe(Probe({}, WHY)) is None
    state_required(lab, flatten(lab.config(Probe({}, WHY))))
    assert lab.base == {"num_key_value_heads": 8}, "as its encoder has it"
    assert lab.hidden == {"num_key_value_heads": None} and lab.observe(Probe({}, WHY)) is not None


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
