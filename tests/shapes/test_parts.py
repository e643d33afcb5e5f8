"""The text model taken out of a vision-language one, beside the config of the whole, or its tower alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.shapes.predicted import predicted, table
from tests.shapes.test_inner_types import INTERN, QWEN3, SIGLIP, TEXT, saved
from weightsmith.checkpoint import Problem
from weightsmith.shapes import ConfigFile, infer, write_config
from weightsmith.shapes.family.parts import with_stored_parts
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.reference.proof import check

if TYPE_CHECKING:
    from pathlib import Path

GEMMA: dict[str, Any] = {
    "model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "mm_tokens_per_image": 4,
    "text_config": {"model_type": "gemma3_text", **TEXT, "head_dim": 32, "sliding_window": None},
    "vision_config": SIGLIP,
}  # fmt: skip
INTERN_QWEN3 = {**INTERN, "text_config": QWEN3, "tie_word_embeddings": False}
QWEN_VL: dict[str, Any] = {
    "model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"], "tie_word_embeddings": False,
    "text_config": {"model_type": "qwen3_vl_text", **TEXT, "head_dim": 32},
    "vision_config": {"model_type": "qwen3_vl", "depth": 3, "hidden_size": 32, "intermediate_size": 56, "num_heads": 2,
                      "out_hidden_size": 64, "patch_size": 4, "num_position_embeddings": 36,
                      "deepstack_visual_indexes": [0, 2]},
}  # fmt: skip


def of_class(config: dict[str, Any], model_type: str, architecture: str) -> dict[str, Any]:
    """The text part's config with its settings on the top."""
    return {**config["text_config"], "model_type": model_type, "architectures": [architecture]}


@pytest.mark.parametrize(
    ("config", "model_type", "architecture"),
    [
        (GEMMA, "gemma3_text", "Gemma3ForCausalLM"),
        (INTERN_QWEN3, "qwen3", "Qwen3ForCausalLM"),
        (QWEN_VL, "qwen3", "Qwen3ForCausalLM"),
    ],
)
def test_the_text_part_alone_gets_the_config_of_its_class(
    config: dict[str, Any], model_type: str, architecture: str
) -> None:
    right = of_class(config, model_type, architecture)
    checkpoint = table(saved(right))
    found = infer(checkpoint, config)
    assert found.verdict == "differs" and not found.stopping
    assert {name: found.config[name] for name in right} == right
    assert not {"text_config", "vision_config"} & found.config.keys()
    changed = {row.name for row in found.changes}
    assert changed == {"model_type", "architectures", "text_config", "vision_config"}
    assert all(row.evidence for row in found.changes)
    assert infer(checkpoint, dict(found.config)).verdict == "agrees"


def test_what_is_wrong_in_the_text_part_is_corrected_on_the_top() -> None:
    right = of_class(GEMMA, "gemma3_text", "Gemma3ForCausalLM")
    wrong = {**GEMMA, "text_config": {**GEMMA["text_config"], "num_hidden_layers": 9}}
    checkpoint = table(saved(right))
    found = infer(checkpoint, wrong)
    assert found.config["num_hidden_layers"] == 3 and "text_config" not in found.config
    assert check(found.config, checkpoint).holds


def test_it_is_written_whole_and_what_is_null_stays_null(tmp_path: Path) -> None:
    checkpoint = replace(table(saved(of_class(GEMMA, "gemma3_text", "Gemma3ForCausalLM"))), path=tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(GEMMA), encoding="utf-8")
    found = infer(checkpoint, GEMMA)
    write_config(checkpoint, ConfigFile(path, GEMMA, path.read_text(encoding="utf-8")), found, path)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == found.config and written["sliding_window"] is None


def test_the_config_of_the_text_part_is_right_beside_it() -> None:
    right = of_class(GEMMA, "gemma3_text", "Gemma3ForCausalLM")
    assert infer(table(saved(right)), right).verdict == "agrees"


def test_under_the_prefix_of_the_whole_the_part_that_is_lost_is_named() -> None:
    shapes = {n: s for n, s in saved(QWEN_VL).items() if not n.startswith("model.visual.")}
    found = infer(table(shapes), QWEN_VL)
    assert found.verdict == "unknown" and found.instead is not None
    assert (
        "vision_config" in found.instead.problem.message
        and "'model.language_model.'" in found.instead.way_out
    )


@pytest.mark.parametrize("config", [GEMMA, None])
def test_a_tower_alone_is_told_as_what_it_is(config: dict[str, Any] | None) -> None:
    shapes = {n: s for n, s in saved(GEMMA).items() if n.startswith("vision_tower.")}
    found = infer(table(shapes), config)
    assert found.verdict == "unknown" and found.instead is not None
    assert "vision tower" in found.instead.problem.message


def test_a_whole_model_is_not_taken_for_a_part() -> None:
    assert infer(table(saved(GEMMA)), GEMMA).verdict == "agrees"
    lost = "model.visual.merger.norm.weight"
    shapes = {n: s for n, s in saved(QWEN_VL).items() if n != lost}
    found = infer(table(shapes), QWEN_VL)
    assert found.architecture.missing_tensors == (lost,) and found.instead is None


def test_a_part_is_not_taken_for_all_where_the_files_tell_that_there_are_more() -> None:
    told = Problem("one-of-several-shards", "model-00001-of-00002.safetensors is one of 2 files")
    shapes = {n: s for n, s in saved(QWEN_VL).items() if not n.startswith("model.visual.")}
    found = infer(replace(table(shapes), problems=(told,)), QWEN_VL)
    assert found.instead is None and found.config == QWEN_VL
    right = of_class(GEMMA, "gemma3_text", "Gemma3ForCausalLM")
    found = infer(replace(table(saved(right)), problems=(told,)), GEMMA)
    assert not found.restructured and found.config.get("text_config") == GEMMA["text_config"]


def test_a_part_that_the_config_says_is_not_there_is_not_lost() -> None:
    shapes = {n: s for n, s in saved(QWEN_VL).items() if not n.startswith("model.visual.")}
    found = infer(table(shapes), {**QWEN_VL, "vision_config": None})
    assert found.instead is None


@pytest.mark.parametrize("said", [True, False, None])
def test_a_part_that_a_setting_switches_off_is_not_lost(said: bool | None) -> None:
    """Qwen2.5-Omni without its talker is what its class builds with `enable_audio_output` false."""
    silent = {"model_type": "qwen2_5_omni", "enable_audio_output": False}
    shapes = predicted(silent)
    assert shapes and all(name.startswith("thinker.") for name in shapes)
    config = {"architectures": ["Qwen2_5OmniForConditionalGeneration"], **silent, "enable_audio_output": said}
    found = infer(table(shapes), {name: value for name, value in config.items() if value is not None})
    assert found.instead is None and found.config["enable_audio_output"] is False
    assert found.verdict == ("agrees" if said is False else "differs")


# A model whose towers are there only where its config has them.
SEEING: dict[str, Any] = {
    "model_type": "seeing",
    "architectures": ["Seeing"],
    "fields": {"text.width": 8, "text.layers": 2, "vision.width": 4, "vision.layers": 2, "audio.width": 6},
    "rules": ["text.width > 0", "vision.width > 0"],
    "base": {"vision.model_type": "eyes", "audio.model_type": "ears"},
    "parts": {"vision": ["vision.", "project."], "audio": ["audio."]},
    "tensors": {
        "text.{text.layers}.weight": "text.width, text.width",
        "vision.{vision.layers}.weight": "vision.width, vision.width",
        "vision.scale": "1",
        "project.weight": "text.width, vision.width",
        "audio.weight": "text.width, audio.width",
    },
}
SEEN = {"text.0.weight": (8, 8), "vision.0.weight": (4, 4), "vision.scale": (1,), "project.weight": (8, 4)}


def test_a_part_that_a_config_leaves_out_takes_its_tensors_and_settings_with_it() -> None:
    page = parse_page(SEEING)
    without = page.without_part("vision")
    assert without.fields.keys() == {"text.width", "text.layers", "audio.width"}
    assert [r.text for r in without.rules] == ["text.width > 0"]
    assert without.keys == {"text.#.weight", "audio.weight"}
    assert (dict(without.base), set(without.parts)) == ({"audio.model_type": "ears"}, {"audio"})


@pytest.mark.parametrize(
    ("config", "names", "left"),
    [
        (None, SEEN, {"vision"}),
        ({"text": {}, "vision": {}, "audio": None}, SEEN, {"vision"}),
        ({"text": {}}, {"text.0.weight": (8, 8)}, set()),
        (
            {"text": {}, "vision": {"width": 4}},
            {"text.0.weight": (8, 8)},
            {"vision"},
        ),  # it is lost, not left out
        ({"text": {}, "vision": None}, SEEN, {"vision"}),  # null is wrong
    ],
)
def test_a_part_is_expected_where_the_config_or_a_tensor_has_it(
    config: dict[str, Any] | None, names: dict[str, tuple[int, ...]], left: set[str]
) -> None:
    assert set(with_stored_parts(parse_page(SEEING), names, config).parts) == left


@pytest.mark.parametrize("config", [None, {"model_type": "seeing", "text": {"layers": 1}, "vision": None}])
def test_a_part_that_is_stored_is_written_whole_with_its_type(config: dict[str, Any] | None) -> None:
    found = infer(table({**SEEN, "vision.0.weight": (4, 4)}), config, page=parse_page(SEEING))
    assert found.architecture.missing_tensors == found.architecture.unmatched_tensors == ()
    assert found.config["vision"] == {"model_type": "eyes", "width": 4, "layers": 1}
    assert not found.config.get("audio")
