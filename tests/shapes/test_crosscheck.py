"""Side files are checked against the weights: vocabulary, special ids, dtype, ties, holes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.reference import reference_shapes
from weightsmith.checkpoint import open_checkpoint
from weightsmith.shapes import infer
from weightsmith.shapes.beside.tokenizer_file import largest_token_id

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "vocab_size": 300,
}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16", **SIZES}


@pytest.fixture
def shapes() -> dict[str, tuple[int, ...]]:
    return reference_shapes("llama", SIZES)


def problems(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Code → messages, joined."""
    found: dict[str, str] = {}
    for problem in infer(open_checkpoint(folder), config).problems:
        found[problem.code] = f"{found.get(problem.code, '')} {problem.message}"
    return found


def test_a_sound_checkpoint_has_no_problems(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    assert problems(tmp_path, CONFIG) == {}


def test_ids_outside_the_vocabulary_are_named(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 300]}))
    assert "bos_token_id 5000" in problems(tmp_path, {**CONFIG, "bos_token_id": 5000})["special-id"]
    assert "generation_config.json: eos_token_id 300" in problems(tmp_path, CONFIG)["special-id"]


def test_a_dtype_that_the_tensors_do_not_have_is_named(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    assert "float16" in problems(tmp_path, {**CONFIG, "torch_dtype": "float16"})["dtype"]


def test_a_tokenizer_larger_than_the_embedding_is_named(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    model = {"type": "BPE", "vocab": {f'to"ken\\{i}': i for i in range(290)}, "merges": []}
    added = [{"id": 301, "content": "<|end|>"}]
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"added_tokens": added, "normalizer": None, "model": model})
    )
    assert largest_token_id((tmp_path / "tokenizer.json").read_bytes()) == 301
    assert "301" in problems(tmp_path, CONFIG)["tokenizer-vocabulary"]


@pytest.mark.parametrize("text", ["", "{", '{"model": {"vocab": {', "[]", "\x00"])
def test_a_broken_tokenizer_does_not_stop_the_inference(tmp_path: Path, shapes: Any, text: str) -> None:
    write_headers_only(tmp_path, shapes)
    (tmp_path / "tokenizer.json").write_text(text)
    assert problems(tmp_path, CONFIG) == {}


def test_an_absent_head_proves_the_tie(tmp_path: Path, shapes: Any) -> None:
    del shapes["lm_head.weight"]
    write_headers_only(tmp_path, shapes)
    inference = infer(open_checkpoint(tmp_path), CONFIG)
    assert inference.verdict == "differs"
    assert {f.name: (f.derived, f.status, f.basis) for f in inference.changes} == {
        "tie_word_embeddings": (True, "missing", "weights")
    }


def test_a_lost_tensor_is_a_difference_and_named(tmp_path: Path, shapes: Any) -> None:
    del shapes["model.layers.1.mlp.up_proj.weight"]
    write_headers_only(tmp_path, shapes)
    inference = infer(open_checkpoint(tmp_path), CONFIG)
    assert inference.verdict == "differs"
    assert inference.architecture.missing_tensors == ("model.layers.1.mlp.up_proj.weight",)
    assert not inference.changes


def test_a_tensor_of_the_wrong_shape_is_a_near_miss(tmp_path: Path, shapes: Any) -> None:
    shapes["model.layers.1.mlp.up_proj.weight"] = (64, 96)
    write_headers_only(tmp_path, shapes)
    inference = infer(open_checkpoint(tmp_path), CONFIG)
    assert inference.verdict == "unknown"
    assert "model.layers.1.mlp.up_proj.weight is [64, 96]" in inference.nearest[0]
    assert "[96, 64]" in inference.nearest[0]


def test_empty_tensors_of_a_broken_save_are_named(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, dict.fromkeys(shapes, (0,)))
    assert infer(open_checkpoint(tmp_path), CONFIG).verdict == "unknown"


def test_tensors_of_no_known_family_are_unknown(tmp_path: Path) -> None:
    write_headers_only(tmp_path, {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,)})
    inference = infer(open_checkpoint(tmp_path), None)
    assert inference.verdict == "unknown"
    assert "conv.weight" in inference.architecture.unmatched_tensors


def test_generated_layer_lists_follow_the_layer_count(tmp_path: Path) -> None:
    sizes = {**SIZES, "tie_word_embeddings": False}
    write_headers_only(
        tmp_path, reference_shapes("qwen2", {k: v for k, v in sizes.items() if k != "head_dim"})
    )
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **sizes, "num_hidden_layers": 3}
    inference = infer(open_checkpoint(tmp_path), {**config, "layer_types": ["full_attention"] * 3})
    assert inference.config["layer_types"] == ["full_attention"] * 2


def test_code_that_auto_map_names_must_lie_in_the_folder(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    (tmp_path / "configuration_x.py").write_text("")
    named = {
        "AutoConfig": "configuration_x.X",
        "AutoModel": "modeling_x.Y",
        "AutoTokenizer": ["org/repo--tok.Z", None],
    }
    assert problems(tmp_path, {**CONFIG, "auto_map": named})["auto-map"].count("not in the folder") == 1
    assert "modeling_x.py" in problems(tmp_path, {**CONFIG, "auto_map": named})["auto-map"]


def test_a_generation_config_that_stops_elsewhere_is_named(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 3], "bos_token_id": 1}))
    assert problems(tmp_path, {**CONFIG, "eos_token_id": 2, "bos_token_id": 1}) == {}
    assert "eos_token_id is 7" in problems(tmp_path, {**CONFIG, "eos_token_id": 7})["generation-config"]


def test_rope_factors_must_be_half_a_head(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 6}
    found = problems(tmp_path, {**CONFIG, "rope_scaling": rope})
    assert "long_factor has 6 entries" in found["list-length"] and "short" not in found["list-length"]


def _tokenizer_that_ends_with(folder: Path, name: Any, number: int) -> None:
    entry = {"id": number, "content": "<|im_end|>", "special": True}
    tokenizer = {"added_tokens": [entry], "normalizer": None, "model": {"vocab": {"a": 0}}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": name}))


@pytest.mark.parametrize("name", ["<|im_end|>", {"content": "<|im_end|>", "lstrip": False}])
def test_an_end_token_that_the_tokenizer_does_not_mean_is_named(
    tmp_path: Path, shapes: Any, name: Any
) -> None:
    write_headers_only(tmp_path, shapes)
    _tokenizer_that_ends_with(tmp_path, name, 260)
    assert "<|im_end|> (260)" in problems(tmp_path, {**CONFIG, "eos_token_id": 72})["end-token"]
    assert "end-token" not in problems(tmp_path, {**CONFIG, "eos_token_id": [72, 260]})
    assert "end-token" not in problems(tmp_path, CONFIG)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 260}))
    assert "end-token" not in problems(tmp_path, {**CONFIG, "eos_token_id": 72})


@pytest.mark.parametrize("broken", ["", "[", '"eos"', '{"eos_token": 7}', '{"eos_token": "<|other|>"}'])
def test_a_tokenizer_that_names_no_end_is_no_problem(tmp_path: Path, shapes: Any, broken: str) -> None:
    write_headers_only(tmp_path, shapes)
    _tokenizer_that_ends_with(tmp_path, "<|im_end|>", 260)
    (tmp_path / "tokenizer_config.json").write_text(broken)
    assert "end-token" not in problems(tmp_path, {**CONFIG, "eos_token_id": 72})


def test_kinds_of_more_layers_than_there_are_is_named(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    named = problems(tmp_path, {**CONFIG, "layer_types": ["full_attention"] * 3})["list-length"]
    assert "layer_types has 3 entries where the weights demand 2" in named
    assert "list-length" not in problems(tmp_path, {**CONFIG, "layer_types": ["full_attention"] * 2})


def test_an_architecture_of_another_family_is_replaced_and_said(tmp_path: Path, shapes: Any) -> None:
    write_headers_only(tmp_path, shapes)
    found = infer(open_checkpoint(tmp_path), {**CONFIG, "architectures": ["Qwen3ForCausalLM"]})
    (row,) = (field for field in found.fields if field.name == "architectures")
    assert (found.verdict, row.status, row.derived) == ("differs", "differs", ["LlamaForCausalLM"])
    assert found.config["architectures"] == ["LlamaForCausalLM"] and found.config["model_type"] == "llama"
