"""What transformers keeps in F32 in a model of 16 bits: the table, how it is read, and that it is learned so."""

from __future__ import annotations

import pytest

from weightsmith.shapes.learn.wide_tensors import DTYPES, learned
from weightsmith.shapes.page.kept_wide import ending, is_wide, wide_tensors

BIAS = "mlp.gate.e_score_correction_bias"


@pytest.mark.parametrize("model_type", ["deepseek_v3", "t5", "llama"])
def test_the_table_is_what_is_learned(model_type: str) -> None:
    table = wide_tensors()
    assert learned(model_type) == {dtype: table.types[dtype].get(model_type, ()) for dtype in DTYPES}


def test_ends_of_names() -> None:
    assert ending("model.layers.#.mlp.gate.weight") == "mlp.gate.weight"
    assert ending("model.norm.weight") == "norm.weight"
    assert is_wide(f"language_model.model.layers.12.{BIAS}", (BIAS,))
    assert not is_wide(f"model.layers.12.other_{BIAS}", (BIAS,))


def test_every_type_of_a_config_says_what_it_keeps() -> None:
    table = wide_tensors()
    assert table.of({"model_type": "deepseek_v3"}, "bfloat16") == (BIAS,)
    assert table.of({"model_type": "llava", "text_config": {"model_type": "deepseek_v3"}}, "bfloat16") == (
        BIAS,
    )
    assert table.of({"model_type": "minimax_m2"}, "bfloat16") == ()
    assert table.of({"model_type": "t5"}, "bfloat16") == ()
    assert table.of({"model_type": "t5"}, "float16") == ("DenseReluDense.wo.weight",)
    assert table.of({"model_type": "t5"}, "float32") == ()


@pytest.mark.parametrize("config", [None, {}, {"model_type": "of_its_own"}])
def test_of_an_unknown_type_the_usual_ones_are_kept(config: dict[str, object] | None) -> None:
    usual = wide_tensors().of(config, "bfloat16")
    assert BIAS in usual
    assert "norm.weight" not in usual
