"""Settings that model code reads and no config class declares are found, surveyed, and inferred like any field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.reference import tensor
from tests.shapes.test_packed import in_memory
from weightsmith.checkpoint import open_checkpoint
from weightsmith.shapes import Inference, infer
from weightsmith.shapes.learn.probe.builder import Lab
from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
from weightsmith.shapes.learn.probe.probe import Answer, Probe
from weightsmith.shapes.learn.probe.single_changes import undeclared_elsewhere
from weightsmith.shapes.learn.probe.undeclared import size_taken, undeclared_settings
from weightsmith.shapes.learn.write.defaults import default_rule
from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.undeclared_reads import undeclared_reads

if TYPE_CHECKING:
    from pathlib import Path

WHY = "a test asks"
SMALL = {
    "qwen2": {
        "hidden_size": 320,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "vocab_size": 64,
    },
    "deberta-v2": {
        "hidden_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 80,
        "vocab_size": 60,
    },
}
SIGLIP = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
GEMMA = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 90}
GEMMA |= {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32}
PALIGEMMA: dict[str, Any] = {
    "model_type": "paligemma",
    "architectures": ["PaliGemmaForConditionalGeneration"],
    "projection_dim": 64,
    "vision_config": {"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14, **SIGLIP},
    "text_config": {"model_type": "gemma", **GEMMA},
}
QWEN3_MOE: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 40,
    "intermediate_size": 112,
    "moe_intermediate_size": 48,
    "num_experts": 4,
    "vocab_size": 80,
}


def lab_of(model_type: str) -> Lab:
    meta_models.prepare()
    return Lab(model_type, meta_models.architectures(model_type), dict(SMALL[model_type]))


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    meta_models.prepare()
    made = meta_models.config_class(config["model_type"]).from_dict(config)
    return dict(meta_models.build(meta_models.architectures(config["model_type"])[0], made).shapes)


def inferred(folder: Path, built_from: dict[str, Any], config: dict[str, Any] | None) -> Inference:
    write_headers_only(folder, shapes_of(built_from))
    return infer(open_checkpoint(folder), config)


def changed(found: Inference) -> dict[str, Any]:
    return {f.name: f.derived for f in found.fields if f.changed}


def without(config: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != name}


def test_what_a_model_asks_for_in_vain_is_noted_and_what_a_class_declares_is_not() -> None:
    meta_models.prepare()
    asked = undeclared_reads("Qwen2ForCausalLM", meta_models.make_config("qwen2", SMALL["qwen2"]))
    assert "head_dim" in asked
    assert not {"hidden_size", "num_attention_heads"} & set(asked)
    assert not any(name.startswith("_") for name in asked)


def test_names_of_inner_configs_are_dotted() -> None:
    meta_models.prepare()
    config = meta_models.config_class("paligemma").from_dict(PALIGEMMA)
    asked = undeclared_reads("PaliGemmaForConditionalGeneration", config)
    assert "vision_config.vision_use_head" in asked


def test_a_config_that_is_refused_tells_what_was_asked_until_then() -> None:
    meta_models.prepare()
    config = meta_models.make_config("qwen2", {**SMALL["qwen2"], "hidden_act": "no such function"})
    assert undeclared_reads("Qwen2ForCausalLM", config)


def test_a_name_is_a_setting_where_a_value_moves_a_tensor() -> None:
    found = undeclared_settings(lab_of("qwen2"))
    assert found.defaults == {"head_dim": None}  # and not gradient_checkpointing, decoder, text_config, …
    assert found.stated == {"head_dim": 40}


def test_a_setting_of_layers_that_the_base_does_not_have_is_found_where_they_are() -> None:
    """Bamba's default has no attention; its rotation asks for head_dim all the same, and no tensor depends on that."""
    meta_models.prepare()
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    small |= {"intermediate_size": 48, "vocab_size": 40, "mamba_n_heads": 8, "mamba_d_head": 16}
    lab = Lab("bamba", ("BambaForCausalLM",), small)
    base = lab.observe(Probe({}, WHY))
    assert base is not None and undeclared_settings(lab).defaults == {}
    attention: dict[str, Any] = {"attn_layer_indices": [1]}
    assert lab.observe(Probe(attention, WHY, base, ("attn_layer_indices",))) is not None
    found = FieldSurvey(lab, base, {})
    assert undeclared_elsewhere(found) == [attention]
    settings = undeclared_settings(lab, [{}, attention])
    assert settings.defaults == {"head_dim": None} and settings.stated == {"head_dim": 16}
    found.accepted = {"head_dim": [16, 32, 48], "num_attention_heads": [4, 8, 2]}
    found.moves = [{"hidden_size": 64 * n, "mamba_d_head": 16 * n} for n in (2, 3, 4)]
    lab.hidden |= settings.defaults
    lab.base |= settings.stated
    origin = lab.observe(Probe({**attention, "num_hidden_layers": 3}, WHY))
    lab.observe(Probe({**attention, "num_hidden_layers": 3, "head_dim": 32}, WHY, origin, ("head_dim",)))
    assert default_rule(found, "head_dim", None) == "= hidden_size // num_attention_heads"


def test_a_setting_may_make_the_model_ask_for_another_one() -> None:
    """DeBERTa's convolution is there from a kernel size on, and only then is it asked how many groups it has."""
    found = undeclared_settings(lab_of("deberta-v2"))
    assert found.defaults["conv_kernel_size"] == 0
    assert {"conv_groups", "embedding_size", "attention_head_size", "norm_rel_ebd"} <= found.defaults.keys()
    assert (found.stated["conv_groups"], found.stated["embedding_size"]) == (1, 96)


@pytest.mark.parametrize(
    ("changes", "size"),
    [({}, 40), ({"hidden_size": 640}, 80), ({"num_attention_heads": 4, "num_key_value_heads": 4}, 80)],
)
def test_two_builds_tell_which_size_is_taken_for_none(changes: dict[str, Any], size: int) -> None:
    lab = lab_of("qwen2")
    taken = size_taken(lab, "head_dim", changes, (48, 96))
    assert taken is not None
    assert taken.values["head_dim"] == size
    assert not lab.observations


class Grouped(Lab):
    """A stand-in whose one axis is a quotient."""

    def _build(self, full: Any) -> Answer:
        return Answer(full, {"X": {"conv.weight": (96, 96 // full.get("groups", 3))}}, {"X": {}})


def test_a_size_that_divides_is_told_from_its_quotients() -> None:
    taken = size_taken(Grouped("x", ("X",)), "groups", {}, (2, 4))
    assert taken is not None
    assert taken.values["groups"] == 3


def test_a_true_width_of_heads_agrees_and_a_wrong_one_alone_is_corrected(tmp_path: Path) -> None:
    assert changed(inferred(tmp_path, QWEN3_MOE, QWEN3_MOE)) == {}
    lied = infer(open_checkpoint(tmp_path), {**QWEN3_MOE, "head_dim": 20})
    assert changed(lied) == {"head_dim": 40}


def test_a_width_of_heads_that_is_left_out_is_added_where_no_quotient_explains_it(tmp_path: Path) -> None:
    found = inferred(tmp_path, QWEN3_MOE, without(QWEN3_MOE, "head_dim"))
    assert changed(found) == {"head_dim": 40}
    (row,) = [f for f in found.fields if f.name == "head_dim"]
    assert (row.status, row.configured, row.default, row.basis) == ("missing", None, 12, "weights")


def test_a_width_of_heads_stays_unsaid_where_the_quotient_is_right(tmp_path: Path) -> None:
    usual = {**without(QWEN3_MOE, "head_dim"), "hidden_size": 320}
    assert changed(inferred(tmp_path, usual, usual)) == {}


def test_a_pooling_head_that_is_not_stored_is_said_not_to_be_used(tmp_path: Path) -> None:
    headless = {**PALIGEMMA, "vision_config": {**PALIGEMMA["vision_config"], "vision_use_head": False}}
    assert changed(inferred(tmp_path, headless, headless)) == {}
    unsaid = infer(open_checkpoint(tmp_path), PALIGEMMA)
    assert changed(unsaid)["vision_config.vision_use_head"] is False


def test_a_pooling_head_that_is_stored_needs_no_word(tmp_path: Path) -> None:
    found = inferred(tmp_path, PALIGEMMA, PALIGEMMA)
    assert "vision_config.vision_use_head" not in changed(found)


def test_a_word_that_no_class_declares_is_derived_as_a_word() -> None:
    """DeBERTa's `norm_rel_ebd` is null by default, and read as text."""
    meta_models.prepare()
    config = {"model_type": "deberta-v2", **SMALL["deberta-v2"], "relative_attention": True}
    kind = meta_models.config_class("deberta-v2")
    said = kind.from_dict({**config, "norm_rel_ebd": "layer_norm"})
    shapes = meta_models.build("DebertaV2ForMaskedLM", said).shapes
    found = infer(in_memory({name: tensor(name, shape) for name, shape in shapes.items()}), None)
    assert found.config["norm_rel_ebd"] == "layer_norm"
    assert meta_models.build("DebertaV2ForMaskedLM", kind.from_dict(dict(found.config))).shapes == shapes
