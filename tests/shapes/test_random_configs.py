"""Configs that nobody wrote, for real families, with transformers as judge: the cases of `make bench-shapes`, a few."""

from __future__ import annotations

import random

import pytest

from benchmarks.drawing import draw, reference
from benchmarks.shapes import in_memory, measure_type
from weightsmith.shapes import infer
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.reference.meta_models import build, make_config, prepare

# Each seed draws a config that is read wrongly when the named part of the reading is left out.
DRAWN = [
    ("gpt_bigcode", 1002, "a reading that breaks a rule gives way"),
    ("janus", 1000, "tests read lists that the shapes have settled"),
    ("xlstm", 1000, "rounded products"),
    ("internvl", 1000, "two sides of a patch grid"),
    ("florence2", 1000, "a list per stage"),
    ("nemotron_h_omni", 1000, "kinds of layers, inside an outer config"),
    ("deepseek_v3", 1000, "dense layers, then experts"),
    ("whisper", 1000, "an encoder and a decoder"),
    ("granite4_vision", 1000, "defaults of an inner type that the outer class does not have by default"),
    ("zamba2", 1000, "blocks that take turns and are not tied"),
]


@pytest.mark.parametrize(("model_type", "seed", "what"), DRAWN)
def test_a_config_drawn_at_random_agrees_is_derived_and_is_repaired(
    model_type: str, seed: int, what: str
) -> None:
    prepare()
    row = measure_type(load_page(model_type), seed, configs=1)
    assert row.passes and not row.unsound, (what, row.faults)


def test_a_width_of_heads_is_drawn_though_no_class_declares_it() -> None:
    """Left to follow from a drawn width and number of heads it would be 1 or 3 channels, which no model has."""
    prepare()
    case = draw(load_page("qwen2"), random.Random(0))
    assert case is not None and case.config["head_dim"] % 2 == 0


def test_what_only_a_rule_leaves_is_no_claim_of_the_weights() -> None:
    """No attention layer is stored, so no tensor knows of heads; a rule and the default of key-value heads leave 8."""
    prepare()
    page = load_page("jamba")
    small = {"hidden_size": 8, "num_attention_heads": 120, "num_hidden_layers": 3, "vocab_size": 300}
    shapes = build(page.architectures[0], make_config("jamba", {**page.base, **small})).shapes
    assert not any("self_attn" in name for name in shapes)
    found = infer(in_memory(shapes), None)
    heads = {f.name: f.basis for f in found.fields}["num_attention_heads"]
    assert found.architecture.model_type == "jamba" and heads != "weights"


def test_what_a_rule_binds_is_stated_where_the_default_would_be_refused() -> None:
    """12 heads, BERT's default, do not divide a hidden size of 80; no tensor has the heads in its shape."""
    prepare()
    page = load_page("bert")
    small = {"hidden_size": 80, "num_attention_heads": 8, "num_hidden_layers": 1, "vocab_size": 100}
    shapes = build(page.architectures[0], make_config("bert", {**page.base, **small})).shapes
    found = infer(in_memory(shapes), None)
    assert found.config["model_type"] == "bert" and 80 % found.config["num_attention_heads"] == 0
    assert reference(page, found.config) == shapes
