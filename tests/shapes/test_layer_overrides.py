"""`per_layer_config`, as transformers saves Gemma 4 since 5.19: read, found false, and mended where it stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoConfig

from tests.checkpoint.headers import write_headers_only
from tests.shapes.reference import reference_shapes
from weightsmith import library

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "global_head_dim": 32, "vocab_size": 96, "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 0, "attention_k_eq_v": True, "num_global_key_value_heads": 1,
}  # fmt: skip


def as_saved(sizes: dict[str, Any]) -> dict[str, Any]:
    """What save_pretrained writes: `global_head_dim` is not in it."""
    config = AutoConfig.for_model("gemma4_text", **sizes)
    saved: dict[str, Any] = json.loads(config.to_json_string())
    assert "global_head_dim" not in saved
    return {**saved, "architectures": ["Gemma4ForCausalLM"]}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_headers_only(tmp_path / "model", reference_shapes("gemma4_text", SIZES))
    return tmp_path / "model"


def write(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def test_what_transformers_saved_is_true(checkpoint: Path) -> None:
    found = library.infer(write(checkpoint, as_saved(SIZES)))
    assert found.verdict == "agrees", found.changes
    assert {"global_head_dim", "num_global_key_value_heads"} <= {field.name for field in found.fields}


def test_a_layer_that_is_as_all_layers_is_left_out_there(tmp_path: Path) -> None:
    """Without overrides of its own, the global layers' width is that of all layers."""
    sizes = {**SIZES, "global_head_dim": SIZES["head_dim"]}
    write_headers_only(tmp_path / "model", reference_shapes("gemma4_text", sizes))
    config = as_saved(sizes)
    assert all("head_dim" not in entry for entry in config["per_layer_config"].values())
    assert library.infer(write(tmp_path / "model", config)).verdict == "agrees"


def test_where_no_layer_has_a_setting_of_its_own_the_class_default_does_not_count(tmp_path: Path) -> None:
    """`per_layer_config: {}` says that global layers are as wide as all others, and not 512 as the class has them."""
    sizes = {**SIZES, "global_head_dim": SIZES["head_dim"], "attention_k_eq_v": False}
    kinds = ["full_attention", *["sliding_attention"] * 4, "full_attention"]
    config = as_saved({**sizes, "layer_types": kinds})
    assert config["per_layer_config"] == {} and "global_head_dim" not in config
    write_headers_only(tmp_path / "model", reference_shapes("gemma4_text", {**sizes, "layer_types": kinds}))
    found = library.infer(write(tmp_path / "model", config))
    assert found.verdict == "agrees", found.changes


def test_a_lie_in_it_is_mended_in_place(checkpoint: Path) -> None:
    config = as_saved(SIZES)
    (layer,) = config["per_layer_config"]
    config["per_layer_config"][layer]["head_dim"] = 64
    found = library.infer(write(checkpoint, config))
    assert found.verdict == "differs"
    assert [(row.name, row.configured, row.derived) for row in found.changes] == [
        (f"per_layer_config.{layer}.head_dim", 64, 32)
    ]
    assert found.config["per_layer_config"] == as_saved(SIZES)["per_layer_config"]
    assert "global_head_dim" not in found.config


def test_key_heads_that_all_layers_have_alike_are_one_setting(tmp_path: Path) -> None:
    """Global layers that say nothing of key heads have those of all layers: a wrong number is one correction."""
    sizes = {**SIZES, "attention_k_eq_v": False}
    write_headers_only(tmp_path / "model", reference_shapes("gemma4_text", sizes))
    config = as_saved(sizes)
    assert all("num_key_value_heads" not in entry for entry in config["per_layer_config"].values())
    found = library.infer(write(tmp_path / "model", {**config, "num_key_value_heads": 4}))
    assert [(row.name, row.derived) for row in found.changes] == [("num_key_value_heads", 2)]


@pytest.mark.parametrize(
    "stated", [None, {}, [], "05", {"05": None}, {"05": {"head_dim": None}}, {"05": {"head_dim": "x"}}]
)
def test_what_is_no_override_is_no_reason_to_fail(checkpoint: Path, stated: object) -> None:
    found = library.infer(write(checkpoint, {**as_saved(SIZES), "per_layer_config": stated}))
    assert found.verdict in ("agrees", "differs", "guessed")
