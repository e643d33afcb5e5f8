"""A save that lost shards: no size follows from what is gone, the lost tensors are named, nothing is written."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.predicted import predicted, table
from weightsmith import library
from weightsmith.errors import MissingInput
from weightsmith.shapes import infer

if TYPE_CHECKING:
    from pathlib import Path

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96, "vocab_size": 300,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
OLMOE: dict[str, Any] = {
    "model_type": "olmoe", "architectures": ["OlmoeForCausalLM"], "hidden_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 4, "num_experts": 8, "num_experts_per_tok": 2,
    "intermediate_size": 32, "vocab_size": 300, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
# (config, what is lost, what is said of it)
LOSSES = {
    "middle": (LLAMA, r"layers\.[34]\.", "model.layers 3 to 4"),
    "end": (LLAMA, r"layers\.[67]\.|^model\.norm|^lm_head", "model.layers 6 to 7"),
    "middle and end": (LLAMA, r"layers\.[267]\.|^lm_head", "model.layers 2, 6 to 7"),
    "start": (LLAMA, r"layers\.[01]\.|embed_tokens", "model.layers 0 to 1"),
    "end, tied": (LLAMA | {"tie_word_embeddings": True}, r"layers\.7\.|^model\.norm", "model.layers 7"),
    "within a layer": (LLAMA, r"layers\.5\.mlp|layers\.[67]\.|^model\.norm|^lm_head", "model.layers 5 to 7"),
    "experts": (OLMOE, r"layers\.1\.mlp\.experts\.[567]\.", "model.layers 1"),
    "last experts of all": (OLMOE, r"\.experts\.[67]\.", "model.layers 0 to 2"),
}


def left(config: dict[str, Any], lost: str) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in predicted(config).items() if not re.search(lost, name)}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_config_stays_and_what_it_demands_is_named(tmp_path: Path, loss: str) -> None:
    config, lost, words = LOSSES[loss]
    whole = predicted(config)
    write_headers_only(tmp_path, left(config, lost))
    text = json.dumps(config)
    (tmp_path / "config.json").write_text(text)
    found = library.infer(tmp_path, write=True)
    assert (found.verdict, found.config, found.changes) == ("differs", config, ())
    assert set(found.architecture.missing_tensors) == whole.keys() - left(config, lost).keys()
    assert words in found.stopping[0].message
    assert found.written is None and (tmp_path / "config.json").read_text() == text
    assert not any(f.basis for f in found.fields if f.name in ("num_hidden_layers", "tie_word_embeddings"))


@pytest.mark.parametrize("loss", LOSSES)
def test_without_a_config_nothing_is_derived(tmp_path: Path, loss: str) -> None:
    config, lost, _ = LOSSES[loss]
    write_headers_only(tmp_path, left(config, lost))
    found = library.infer(tmp_path, write=True)
    assert (found.verdict, found.config, found.fields) == ("unknown", {}, ())
    assert isinstance(found.failure(), MissingInput)
    assert not (tmp_path / "config.json").exists()


def test_an_index_that_names_more_tells_what_no_hole_shows(tmp_path: Path) -> None:
    """All that is stored is a whole model of four layers; the index knows of four more."""
    shapes = left(LLAMA, r"layers\.[4-7]\.")
    (file,) = write_headers_only(tmp_path, shapes)
    index = {"metadata": {}, "weight_map": dict.fromkeys(predicted(LLAMA), file.name)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    bare = library.infer(tmp_path)
    assert bare.verdict == "unknown" and bare.failure() is not None
    assert library.infer(file).verdict == "guessed", "that file alone is a whole model"
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    found = library.infer(tmp_path)
    assert (found.verdict, found.config) == ("differs", LLAMA)
    assert "model.layers 4 to 7" in found.stopping[0].message


def test_what_is_there_still_contradicts_a_config() -> None:
    """Sizes of tensors that are stored, and absences in layers that are whole, tell what they always told."""
    shapes = left(LLAMA, LOSSES["end"][1])
    wrong = {"vocab_size": 400, "intermediate_size": 80, "num_hidden_layers": 4, "attention_bias": True}
    found = infer(table(shapes), LLAMA | wrong)
    assert (found.config["vocab_size"], found.config["intermediate_size"]) == (300, 96)
    assert found.config["num_hidden_layers"] == 6 and found.config["attention_bias"] is False
    layers = next(field for field in found.fields if field.name == "num_hidden_layers")
    assert layers.basis == "guess" and found.verdict == "differs", "4 cannot be, and there may be more than 6"


def test_a_count_of_no_model_is_not_unrolled() -> None:
    found = infer(table(left(LLAMA, LOSSES["end"][1])), {**LLAMA, "num_hidden_layers": 10**9})
    assert found.verdict == "differs" and found.config["num_hidden_layers"] == 6
    assert len(found.architecture.missing_tensors) < 100


def test_a_whole_model_of_fewer_layers_proves_their_number() -> None:
    """The final norm and the head come after the layers: where they are stored, no shard of the end is lost."""
    found = infer(table(left(LLAMA, r"layers\.[67]\.")), LLAMA)
    assert {f.name: (f.derived, f.basis) for f in found.changes} == {"num_hidden_layers": (6, "weights")}
