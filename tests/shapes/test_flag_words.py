"""Settings that are a flag or a word: Laguna's `gating` is true, or "per-head", which is the same; or "per-element"."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shapes.predicted import predicted, table
from weightsmith.shapes import infer

LAGUNA: dict[str, Any] = {
    "model_type": "laguna",
    "architectures": ["LagunaForCausalLM"],
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_attention_heads_per_layer": [6, 8, 8, 8],
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 300,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "sliding_attention"],
    "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
}


@pytest.mark.parametrize("gating", [True, "per-head", "per-element"])
def test_the_word_and_the_flag_agree_with_the_tensors_that_they_make(gating: bool | str) -> None:
    config = {**LAGUNA, "gating": gating}
    found = infer(table(predicted(config)), config)
    assert found.verdict == "agrees", [f"{f.name} {f.configured} -> {f.derived}" for f in found.changes]


def test_the_wrong_one_is_corrected() -> None:
    tensors = table(predicted({**LAGUNA, "gating": "per-head"}))
    found = infer(tensors, {**LAGUNA, "gating": "per-element"})
    assert [f.name for f in found.changes] == ["gating"] and found.config["gating"] in (True, "per-head")


def test_a_flag_that_a_word_stands_for_too_is_not_forced() -> None:
    found = infer(table(predicted({**LAGUNA, "gating": "per-head"})), None)
    (row,) = (f for f in found.fields if f.name == "gating")
    assert row.basis != "weights" and {True, "per-head"} <= set(row.candidates)
