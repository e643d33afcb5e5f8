"""Sizes that agree, in a config that no loader gets through: `differs`, and mended where the weights say how."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.predicted import predicted, table
from tests.shapes.test_packed import CONFIG, SIZES, packed
from tests.shapes.test_spellings import LLAVA, shapes_of
from weightsmith import library
from weightsmith.schemes.stated import DESCRIPTION_FILE
from weightsmith.shapes import infer
from weightsmith.shapes.repair import corrected_text

if TYPE_CHECKING:
    from pathlib import Path

GEMMA3: dict[str, Any] = {
    "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "hidden_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 96, "vocab_size": 300,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}  # fmt: skip


def llama_on_disk(folder: Path, config: dict[str, Any]) -> str:
    write_headers_only(folder, predicted(CONFIG | SIZES))
    text = json.dumps(config, indent=2)
    (folder / "config.json").write_text(text)
    return text


@pytest.mark.parametrize(
    "method", ["gptq", "awq", "mxfp4", "fp8", "bitsandbytes", "compressed-tensors", "hqq"]
)
def test_what_is_said_of_packed_weights_is_taken_out_where_none_are(tmp_path: Path, method: str) -> None:
    section = {"quant_method": method, "bits": 4, "modules_to_not_convert": ["lm_head"]}
    llama_on_disk(tmp_path, {"quantization_config": section, **CONFIG, **SIZES})
    found = library.infer(tmp_path, write=True)
    assert [(f.name, f.derived, f.status) for f in found.changes] == [
        ("quantization_config", None, "differs")
    ]
    assert found.changes[0].evidence, "a field that differs has evidence"
    assert found.verdict == "differs" and found.written
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == found.config == CONFIG | SIZES
    assert library.infer(tmp_path).verdict == "agrees"


def test_it_is_taken_out_of_the_config_of_a_part_too(tmp_path: Path) -> None:
    """Kimi-K2.5 says in `text_config` how its text model is packed; what was unpacked of it has plain tensors."""
    section = {"quant_method": "compressed-tensors", "config_groups": {}}
    stale = {**LLAVA, "text_config": {**LLAVA["text_config"], "quantization_config": section}}
    write_headers_only(tmp_path, shapes_of(LLAVA))
    (tmp_path / "config.json").write_text(json.dumps(stale))
    found = library.infer(tmp_path, write=True)
    assert [(f.name, f.derived) for f in found.changes] == [("text_config.quantization_config", None)]
    assert json.loads((tmp_path / "config.json").read_text()) == LLAVA


@pytest.mark.parametrize(
    "section", [{"quant_method": "torchao"}, {"quant_method": "bitnet", "quantization_mode": "online"}, {}]
)
def test_methods_that_quantize_while_loading_stay(section: dict[str, Any]) -> None:
    shapes = predicted(CONFIG | SIZES)
    assert infer(table(shapes), {**CONFIG, **SIZES, "quantization_config": section}).verdict == "agrees"


def test_plain_looking_tensors_beside_unknown_ones_do_not_refute_the_packing() -> None:
    tensors = predicted(CONFIG | SIZES) | {"model.layers.0.self_attn.q_proj.codebook": (16, 8)}
    found = infer(table(tensors), {**CONFIG, **SIZES, "quantization_config": {"quant_method": "aqlm"}})
    assert "quantization_config" in found.config


@pytest.mark.parametrize(
    ("stated", "right"),
    [
        ({"load_in_4bit": True, "load_in_8bit": False}, {"load_in_4bit": False, "load_in_8bit": True}),
        ({"load_in_4bit": True}, {"load_in_4bit": False, "load_in_8bit": True}),
        ({}, {"load_in_8bit": True}),
    ],
)
def test_of_four_and_eight_bits_one_is_true(stated: dict[str, bool], right: dict[str, bool]) -> None:
    section = {"quant_method": "bitsandbytes", "llm_int8_threshold": 6.0}
    config = {**CONFIG, **SIZES, "quantization_config": {**section, **stated}}
    found = infer(packed("bitsandbytes-int8"), config)
    assert found.verdict == "differs"
    assert found.config["quantization_config"] == {**section, **right}


def test_kinds_of_layers_that_are_gone_stop_a_loader_and_are_not_guessed(tmp_path: Path) -> None:
    write_headers_only(tmp_path, predicted(GEMMA3))
    longer = GEMMA3["layer_types"] * 2
    for layers in (3, 6):
        text = json.dumps({**GEMMA3, "num_hidden_layers": layers, "layer_types": longer})
        (tmp_path / "config.json").write_text(text)
        found = library.infer(tmp_path, write=True)
        assert found.verdict == "differs" and found.written is None
        assert [p.code for p in found.stopping] == ["list-length"] and "layer_types" in found.stopping[
            0
        ].message
        assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize(
    "config", [GEMMA3, {**CONFIG, **SIZES, "num_hidden_layers": 3}], ids=["gemma3", "llama"]
)
def test_a_list_of_one_kind_follows_the_layers(tmp_path: Path, config: dict[str, Any]) -> None:
    """Of every family, also of those whose class has no such list of its own."""
    write_headers_only(tmp_path, predicted(config))
    (tmp_path / "config.json").write_text(json.dumps({**config, "layer_types": ["full_attention"] * 4}))
    found = library.infer(tmp_path, write=True)
    assert found.verdict == "differs" and found.written and not found.stopping
    assert json.loads((tmp_path / "config.json").read_text())["layer_types"] == ["full_attention"] * 3


def test_a_list_that_names_layers_by_number_has_any_length() -> None:
    config = {"model_type": "lfm2", "architectures": ["Lfm2ForCausalLM"], "num_hidden_layers": 4, "hidden_size": 64,
              "full_attn_idxs": [1, 3], "layer_types": ["conv", "full_attention"] * 2}  # fmt: skip
    assert infer(table(predicted(config)), config).problems == ()


def test_partly_rotated_heads_have_fewer_factors() -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 6, "long_factor": [1.0] * 6}
    config = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
              "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 96, "vocab_size": 300,
              "partial_rotary_factor": 0.75, "rope_scaling": rope}  # fmt: skip
    newer = {**config, "partial_rotary_factor": None, "rope_scaling": None}
    newer["rope_parameters"] = {**rope, "partial_rotary_factor": 0.75, "rope_theta": 10000.0}
    for true in (config, newer):
        found = infer(table(predicted(true)), true)
        assert (found.verdict, found.problems) == ("agrees", ())
    rope["short_factor"] = [1.0] * 8
    assert infer(table(predicted(config)), config).stopping


def described(tensors: Any) -> dict[str, str]:
    return {"model_quant_type": "W8A8_DYNAMIC", **dict.fromkeys(tensors, "W8A8_DYNAMIC")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, f"{DESCRIPTION_FILE} is not in the folder"),
        ("{", f"{DESCRIPTION_FILE} is no JSON"),
        ("lm_head.weight", "does not say how lm_head.weight is stored"),
        ("model.layers.0.mlp.up_proj.weight", "does not say how model.layers.0.mlp.up_proj.weight is stored"),
    ],
)
def test_modelslim_weights_need_their_description(tmp_path: Path, text: str | None, words: str) -> None:
    checkpoint = replace(packed("modelslim"), root=tmp_path)
    whole = described(checkpoint.tensors)
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps(whole))
    assert infer(checkpoint, CONFIG | SIZES).verdict == "agrees"
    if text is None:
        (tmp_path / DESCRIPTION_FILE).unlink()
    else:
        kept = {n: v for n, v in whole.items() if n != text}
        (tmp_path / DESCRIPTION_FILE).write_text(text if text == "{" else json.dumps(kept))
    found = infer(checkpoint, CONFIG | SIZES)
    assert found.verdict == "differs" and words in found.stopping[0].message


@pytest.mark.parametrize(
    ("change", "words", "stops"),
    [
        (
            {"model.layers.0.mlp.up_proj.weight": "W2A2"},
            "says W2A2 of model.layers.0.mlp.up_proj.weight",
            True,
        ),
        (
            {"model.layers.9.gone.weight": "FLOAT"},
            "describes model.layers.9.gone.weight, which no tensor is",
            False,
        ),
        (
            {"model.layers.0.mlp.up_proj.weight_scale": None},
            "does not say how model.layers.0.mlp.up_proj.weight_s",
            False,
        ),
    ],
)
def test_a_description_goes_with_its_tensors(
    tmp_path: Path, change: dict[str, str | None], words: str, stops: bool
) -> None:
    checkpoint = replace(packed("modelslim"), root=tmp_path)
    told = {n: v for n, v in {**described(checkpoint.tensors), **change}.items() if v is not None}
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps(told))
    found = infer(checkpoint, CONFIG | SIZES)
    (problem,) = (problem for problem in found.problems if words in problem.message)
    assert problem.stops_loader is stops


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"q": {"a": [1, "}"]}, "b": 1}', '{"b": 1}'),
        ('{"a": 1, "q": {"a": 2}}', '{"a": 1}'),
        ('{\n  "a": 1,\n  "q": null,\n  "b": 2\n}\n', '{\n  "a": 1,\n  "b": 2\n}\n'),
        ('{"q": 1}', "{}"),
        ('{"a": {"q": 1}}', '{"a": {"q": 1}}'),
    ],
)
def test_an_entry_is_taken_out_with_its_comma(text: str, left: str) -> None:
    assert corrected_text(text, [], ["q"]) == left
