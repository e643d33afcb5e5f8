"""Settings under other names: a flat config is read, reported and corrected as it stands in the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from benchmarks.shapes import in_memory
from tests.checkpoint.headers import write_headers_only
from weightsmith.cli import commands
from weightsmith.shapes import infer
from weightsmith.shapes.family.other_names import canonical, place
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.synonyms import synonyms, yielding

if TYPE_CHECKING:
    from pathlib import Path

# As Qwen2.5-VL was published, but for its size: the text model's settings stand at the top.
FLAT: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "model_type": "qwen2_5_vl",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
    "vision_config": {
        "depth": 2,
        "fullatt_block_indexes": [1],
        "hidden_size": 32,
        "in_chans": 3,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
    },
    "vocab_size": 300,
}


def built(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    meta_models.prepare()
    made = meta_models.config_class(config["model_type"]).from_dict(json.loads(json.dumps(config)))
    return meta_models.build(config["architectures"][0], made).shapes


def test_a_flat_config_agrees_and_is_corrected_where_it_stands() -> None:
    shapes = built(FLAT)
    assert infer(in_memory(shapes), FLAT).verdict == "agrees"
    found = infer(in_memory(shapes), {**FLAT, "hidden_size": 80, "num_hidden_layers": 3})
    changed = {f.name: (f.configured, f.derived) for f in found.changes}
    assert changed == {"hidden_size": (80, 64), "num_hidden_layers": (3, 2)}
    assert "text_config" not in found.config and built(dict(found.config)) == shapes
    fewer = {name: value for name, value in FLAT.items() if name != "vocab_size"}
    found = infer(in_memory(shapes), fewer)
    assert found.config["vocab_size"] == 300 and built(dict(found.config)) == shapes


@pytest.mark.usefixtures("asked_here")
def test_a_flat_file_keeps_its_bytes_but_for_the_wrong_value(tmp_path: Path) -> None:
    write_headers_only(tmp_path, built(FLAT))
    text = json.dumps(FLAT, indent=4)
    (tmp_path / "config.json").write_text(text.replace('"hidden_size": 64', '"hidden_size": 2560', 1))
    done = CliRunner().invoke(
        commands, ["infer-config", str(tmp_path), "--check", "--write"], standalone_mode=False
    )
    assert done.return_value == 0, done.output
    assert (tmp_path / "config.json").read_text() == text


def test_what_stands_beside_a_nested_object_is_not_read_into_it() -> None:
    """transformers takes the object as it is, then: a size at the top is not the text model's."""
    shapes = built(FLAT)
    page = load_page("qwen2_5_vl")
    nested = {**FLAT, "text_config": {"hidden_size": 64, "num_hidden_layers": 2}}
    assert canonical(nested, page) is nested
    assert place(nested, page, "text_config.hidden_size") == "text_config.hidden_size"
    found = infer(in_memory(shapes), nested)
    assert "text_config.intermediate_size" in {f.name for f in found.changes}
    assert built(dict(found.config)) == shapes


def test_the_class_attributes_own_names_are_taken() -> None:
    sizes = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 300}
    own = {**sizes, "n_embd": 64, "n_layer": 2, "n_head": 4}
    usual = {**sizes, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    shapes = built(own)
    assert built(usual) == shapes
    assert infer(in_memory(shapes), usual).verdict == infer(in_memory(shapes), own).verdict == "agrees"
    (change,) = infer(in_memory(shapes), {**usual, "hidden_size": 60}).changes
    assert (change.name, change.derived) == ("hidden_size", 64)


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "gpt2", "llava", "mixtral"])
def test_pages_have_the_aliases_of_the_installed_transformers(model_type: str) -> None:
    meta_models.prepare()
    page = load_page(model_type)
    names = dict.fromkeys((*page.fields, *(name for rule in page.rules for name in sorted(rule.names))))
    assert synonyms(model_type, names) == page.aliases, "run `make catalog`"


@pytest.mark.parametrize("model_type", ["qwen3_moe", "lfm2", "kimi_linear", "bart"])
def test_which_of_two_names_counts_is_learned(model_type: str) -> None:
    page = load_page(model_type)
    assert set(yielding(model_type, page.aliases)) == page.yielding


LFM2: dict[str, Any] = {
    "architectures": ["Lfm2ForCausalLM"],
    "model_type": "lfm2",
    "block_auto_adjust_ff_dim": False,
    "block_ff_dim": 96,
    "full_attn_idxs": [1],
    "hidden_size": 64,
    "intermediate_size": 80,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 300,
}


def test_of_two_names_in_one_file_the_one_that_the_class_reads_counts() -> None:
    """`block_ff_dim` is taken before `intermediate_size`, which a converter put beside it."""
    shapes = built(LFM2)
    assert infer(in_memory(shapes), LFM2).verdict == "agrees"
    found = infer(in_memory(shapes), {**LFM2, "block_ff_dim": 112})
    assert {f.name: f.derived for f in found.changes} == {"block_ff_dim": 96}
    assert built(dict(found.config)) == shapes


def test_a_wrong_value_that_is_said_twice_is_corrected_twice() -> None:
    shapes = built(LFM2)
    found = infer(in_memory(shapes), {**LFM2, "block_ff_dim": 80})
    assert {f.name: f.derived for f in found.changes} == {"block_ff_dim": 96, "intermediate_size": 96}
    assert built(dict(found.config)) == shapes


def test_a_name_that_yields_counts_only_alone() -> None:
    page = load_page("qwen3_moe")
    both = canonical({"model_type": "qwen3_moe", "num_experts": 8, "num_local_experts": 4}, page)
    alone = canonical({"model_type": "qwen3_moe", "num_experts": 8}, page)
    assert both is not None and alone is not None
    assert (both["num_local_experts"], alone["num_local_experts"]) == (4, 8)
