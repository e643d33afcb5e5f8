"""The tables that the field reports made by hand come out of the headers, row for row, with evidence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.reference import reference_shapes
from weightsmith.checkpoint import open_checkpoint
from weightsmith.shapes import Inference, infer
from weightsmith.shapes.field_reports import FieldReport, edits
from weightsmith.shapes.page.page import parse_page

if TYPE_CHECKING:
    from pathlib import Path

BITCPM = {
    "hidden_size": 2048,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "intermediate_size": 6144,
    "vocab_size": 73448,
}
BITCPM_LIES = {
    "hidden_size": 2560,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 10240,
}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 64, "long_factor": [1.0] * 64}
HRM = {
    "hidden_size": 1536,
    "num_attention_heads": 12,
    "head_dim": 128,
    "intermediate_size": 4096,
    "vocab_size": 65536,
}
MEM_AGENT = {
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 36,
    "vocab_size": 151936,
    "head_dim": 128,
    "tie_word_embeddings": True,
}


def inferred(folder: Path, config: dict[str, Any] | None) -> Inference:
    return infer(open_checkpoint(folder), config)


def rows(inference: Inference) -> dict[str, tuple[Any, Any, str, str | None]]:
    return {f.name: (f.configured, f.derived, f.status, f.basis) for f in inference.fields}


@pytest.fixture(scope="module")
def bitcpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BitCPM4-CANN-1B as published: 3.2 GB of bf16 in one .bin, untied head."""
    folder = tmp_path_factory.mktemp("bitcpm")
    write_headers_only(folder, reference_shapes("llama", BITCPM), format="bin")
    return folder


def test_bitcpm4_config_is_contradicted_in_four_rows_and_confirmed_in_three(bitcpm: Path) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **BITCPM, **BITCPM_LIES}
    inference = inferred(bitcpm, {**config, "rope_scaling": LONGROPE})
    assert inference.verdict == "differs"
    table = rows(inference)
    assert table["hidden_size"] == (2560, 2048, "differs", "weights")
    assert table["num_hidden_layers"] == (32, 28, "differs", "weights")
    assert table["num_attention_heads"] == (32, 16, "differs", "weights+config")
    assert table["num_key_value_heads"] == (2, 2, "agrees", "weights+config")
    assert table["head_dim"] == (128, 128, "agrees", "weights+config")
    assert table["intermediate_size"] == (10240, 6144, "differs", "weights")
    assert table["vocab_size"] == (73448, 73448, "agrees", "weights")
    assert {name: inference.config[name] for name in BITCPM} == BITCPM
    assert inference.checkpoint.nbytes > 3e9
    by_name = {f.name: f for f in inference.fields}
    heads = by_name["num_attention_heads"].evidence[0]
    assert (heads.axis, heads.size) == (0, 2048)
    assert heads.equation.startswith("num_attention_heads * head_dim")
    assert "head_dim = 128" in heads.equation, "the evidence names the config value that it leaned on"
    assert 16 in by_name["num_attention_heads"].candidates and 32 in by_name["num_attention_heads"].candidates


def test_without_its_config_bitcpm4_heads_stay_open_and_all_are_listed(bitcpm: Path) -> None:
    inference = inferred(bitcpm, None)
    assert inference.verdict == "guessed"
    assert inference.architecture.model_type == "llama"
    assert "minicpm" in inference.architecture.alternatives
    assert "deepseek" not in inference.architecture.alternatives, "a family of experts without any expert"
    by_name = {f.name: f for f in inference.fields}
    assert by_name["hidden_size"].basis == "weights"
    assert (by_name["num_attention_heads"].status, by_name["num_attention_heads"].basis) == (
        "ambiguous",
        "guess",
    )
    assert by_name["head_dim"].candidates == (128, 64, 256, 32, 16, 8, 4, 2), "as published models have it"
    assert {name: inference.config[name] for name in BITCPM} == BITCPM, "which is the truth here"
    rebuilt = reference_shapes("llama", {name: inference.config[name] for name in BITCPM})
    assert rebuilt == reference_shapes("llama", BITCPM)


def test_longrope_factors_decide_between_corrections(bitcpm: Path) -> None:
    """Without head_dim, keeping the 32 heads or the 2 kv heads costs the same; 64 factors say head_dim is 128."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **BITCPM, **BITCPM_LIES}
    del config["head_dim"]
    assert inferred(bitcpm, {**config, "rope_scaling": LONGROPE}).config["num_attention_heads"] == 16
    wrong = {"rope_type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.0] * 48}
    problems = inferred(bitcpm, {**config, "rope_scaling": wrong}).problems
    assert any(p.code == "list-length" and "48" in p.message for p in problems)


@pytest.mark.parametrize(
    "stated", [{"num_hidden_layers": 16}, {"num_hidden_layers": 128, "num_layers_per_stack": 16}]
)
def test_hrm_text_has_sixteen_layers_a_stack_and_128_logical_ones(
    tmp_path: Path, stated: dict[str, int]
) -> None:
    write_headers_only(tmp_path, reference_shapes("hrm_text", {**HRM, "num_hidden_layers": 16}))
    config = {
        "model_type": "hrm_text",
        "architectures": ["HrmTextForCausalLM"],
        "H_cycles": 2,
        "L_cycles": 3,
        **HRM,
    }
    inference = inferred(tmp_path, {**config, **stated})
    assert inference.verdict == "agrees", rows(inference)
    table = rows(inference)
    assert table["num_layers_per_stack"][1:] == (16, "agrees", "weights")
    assert table["H_cycles"][2] == "unverifiable"
    lied = inferred(tmp_path, {**config, **stated, "hidden_size": 2048, "intermediate_size": 5120})
    assert lied.verdict == "differs"
    assert {f.name for f in lied.changes} == {"hidden_size", "intermediate_size"}


def test_hrm_text_logical_layers_follow_the_stack(tmp_path: Path) -> None:
    write_headers_only(tmp_path, reference_shapes("hrm_text", {**HRM, "num_hidden_layers": 16}))
    config = {
        "model_type": "hrm_text",
        "architectures": ["HrmTextForCausalLM"],
        "H_cycles": 2,
        "L_cycles": 3,
        **HRM,
    }
    lied = inferred(tmp_path, {**config, "num_hidden_layers": 64, "num_layers_per_stack": 8})
    assert lied.config["num_layers_per_stack"] == 16
    assert lied.config["num_hidden_layers"] == 128


def test_mem_agent_is_what_its_report_says(tmp_path: Path) -> None:
    """Qwen3-4B: heads * head_dim (4096) is not hidden_size (2560); q_norm proves head_dim; the head is tied."""
    write_headers_only(tmp_path, reference_shapes("qwen3", MEM_AGENT), shards=2)
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **MEM_AGENT}
    inference = inferred(tmp_path, config)
    assert inference.verdict == "agrees"
    table = rows(inference)
    for name, value in MEM_AGENT.items():
        assert table[name] == (value, value, "agrees", "weights"), name
    derived = inferred(tmp_path, None)
    assert derived.architecture.model_type == "qwen3"
    assert {name: derived.config[name] for name in MEM_AGENT} == MEM_AGENT


def test_a_model_type_that_the_tensors_refute_is_corrected(tmp_path: Path) -> None:
    write_headers_only(tmp_path, reference_shapes("qwen3", MEM_AGENT))
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **MEM_AGENT}
    inference = inferred(tmp_path, config)
    assert inference.verdict == "differs"
    assert inference.architecture.source == "tensors"
    assert inference.config["model_type"] == "qwen3"
    assert inference.config["architectures"] == ["Qwen3ForCausalLM"]


def test_minicpm_is_known_by_its_claim(bitcpm: Path) -> None:
    config = {"model_type": "minicpm", "architectures": ["MiniCPMForCausalLM"], **BITCPM, **BITCPM_LIES}
    inference = inferred(bitcpm, {**config, "tie_word_embeddings": False})
    assert inference.architecture.model_type == "minicpm"
    assert "llama" in inference.architecture.alternatives
    assert {name: inference.config[name] for name in BITCPM} == BITCPM


def test_the_document_is_json_with_the_contracts_keys(bitcpm: Path) -> None:
    document = json.loads(json.dumps(inferred(bitcpm, dict(BITCPM)).document()))
    assert list(document) == [
        "command",
        "checkpoint",
        "architecture",
        "verdict",
        "fields",
        "problems",
        "config",
        "guesses",
        "dialect",
        "misread",
    ]
    assert list(document["checkpoint"]) == [
        "path",
        "format",
        "files",
        "tensors",
        "parameters",
        "bytes",
        "dtypes",
    ]
    assert set(document["architecture"]) == {
        "model_type", "architectures", "source", "alternatives", "unmatched_tensors", "missing_tensors",
    }  # fmt: skip
    field_keys = {"name", "configured", "default", "derived", "status", "basis", "candidates", "evidence"}
    assert all(set(field) == field_keys for field in document["fields"])
    evidence = [one for field in document["fields"] for one in field["evidence"]]
    assert evidence and all(set(one) == {"tensor", "axis", "size", "equation"} for one in evidence)


PARTS = {
    "model_type": "parts",
    "fields": {"hidden_size": 64, "heads": 16, "width": 128},
    "unverifiable": {"rope": {"theta": 1.0, "parts": [24, 20, 20]}},
    "rules": ["sum(rope['parts']) == width // 2"],
    "tensors": {"q": "heads * width, hidden_size"},
}


def parts_of(folder: Path, rows_of_q: int, config: dict[str, Any] | None) -> dict[str, tuple[Any, Any, str]]:
    write_headers_only(folder, {"q": (rows_of_q, 64)})
    found = infer(open_checkpoint(folder), config, page=parse_page(PARTS))
    return {f.name: (f.configured, f.derived, f.status) for f in found.fields}


def test_a_size_is_chosen_that_its_stated_parts_add_up_to(tmp_path: Path) -> None:
    """16 heads of 64 would be fewer corrections, were it not for the parts."""
    found = parts_of(tmp_path, 1024, {"model_type": "parts", "rope": PARTS["unverifiable"]["rope"]})
    assert (found["heads"][1], found["width"][1]) == (8, 128)


@pytest.mark.parametrize("config", [None, {"model_type": "parts", "rope": PARTS["unverifiable"]["rope"]}])
def test_parts_follow_a_size_that_cannot_be_their_sum(tmp_path: Path, config: dict[str, Any] | None) -> None:
    found = parts_of(tmp_path, 13 * 32, config)
    parts = found["rope"][1]
    assert parts["theta"] == 1.0
    assert sum(parts["parts"]) == found["width"][1] // 2
    assert found["rope"][2] == ("differs" if config else "ambiguous")


def test_an_empty_object_is_written_whole() -> None:
    """A class that is given {} fills nothing in: deepseek_v4 asks its compression rates for both kinds of layers."""
    rows = [
        FieldReport("rates.near", None, 4, 4, "agrees", "weights"),
        FieldReport("rates.far", None, 128, 128, "unverifiable", None),
    ]
    wrong = FieldReport("hidden_size", 80, None, 64, "differs", "weights")
    assert edits({"rates": {}}, [wrong, *rows]) == [
        ("hidden_size", 64),
        ("rates.near", 4),
        ("rates.far", 128),
    ]
    assert edits({"rates": {"near": 4}}, [wrong, *rows]) == edits({}, [wrong, *rows]) == [("hidden_size", 64)]
    assert edits({"rates": {}}, rows) == [], "a config that agrees is left as it is"


@pytest.mark.parametrize("classes", [{}, {"architectures": None}, {"architectures": []}])
def test_a_file_that_names_no_class_is_read_by_its_type(tmp_path: Path, classes: dict[str, Any]) -> None:
    config = {"model_type": "qwen3", **MEM_AGENT, "max_position_embeddings": 4096}
    write_headers_only(tmp_path, reference_shapes("qwen3", MEM_AGENT))
    assert inferred(tmp_path, {**config, **classes}).verdict == "agrees"
    assert "architectures" in rows(inferred(tmp_path, {**config, "model_type": "llama", **classes}))
    wrong = {**config, "architectures": ["LlamaForCausalLM"]}
    assert rows(inferred(tmp_path, wrong))["architectures"][2] == "differs"
