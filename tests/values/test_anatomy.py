"""Parts and layers of a model, and the numbers of single tensors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.shapes.predicted import predicted, table
from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import MissingInput
from weightsmith.values.anatomy import anatomy, part_of
from weightsmith.values.inspection import inspect
from weightsmith.values.statistics import BINS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name, part",
    [
        ("model.embed_tokens.weight", "embeddings"),
        ("transformer.wte.weight", "embeddings"),
        ("bert.embeddings.word_embeddings.weight", "embeddings"),
        ("model.layers.3.self_attn.q_proj.weight_packed", "attention"),
        ("model.layers.3.self_attn.q_norm.weight", "norms"),
        ("h.0.ln_1.weight", "norms"),
        ("transformer.ln_f.bias", "norms"),
        ("h.0.attn.c_attn.weight", "attention"),
        ("model.layers.3.mlp.gate_proj.weight", "MLP"),
        ("h.11.mlp.c_fc.weight", "MLP"),
        ("model.layers.3.mlp.gate.weight", "router"),
        ("model.layers.3.mlp.gate.e_score_correction_bias", "router"),
        ("model.layers.3.mlp.experts.17.down_proj.weight_scale_inv", "experts"),
        ("model.layers.3.mlp.shared_experts.up_proj.weight", "experts"),
        ("lm_head.weight", "head"),
        ("score.weight", "head"),
        ("model.visual.blocks.4.attn.qkv.weight", "vision"),
        ("vision_tower.vision_model.encoder.layers.0.layer_norm1.weight", "vision"),
        ("audio_tower.layers.0.self_attn.k_proj.weight", "audio"),
        ("backbone.layers.3.mixer.A_log", "state space"),
        ("model.layers.0.linear_attn.in_proj_qkvz.weight", "attention"),
        ("model.z_L_init", "other"),
    ],
)
def test_a_name_tells_its_part(name: str, part: str) -> None:
    assert part_of(name) == part


def test_parts_and_layers_add_up_to_the_model() -> None:
    sizes = {"num_hidden_layers": 6, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 300, "tie_word_embeddings": False}  # fmt: skip
    checkpoint = table(predicted({"model_type": "llama", **sizes}))
    found = anatomy(checkpoint.tensors, checkpoint.tensors)
    parts = {part.name: part for part in found.parts}
    assert set(parts) == {"embeddings", "attention", "MLP", "norms", "head"}
    assert parts["MLP"].parameters == 6 * 3 * 64 * 96 and parts["head"].parameters == 300 * 64
    assert sum(part.parameters for part in found.parts) == checkpoint.parameters
    assert [layer.index for layer in found.layers] == [*range(6)]
    outside = sum(parts[name].parameters for name in ("embeddings", "head")) + 64
    assert sum(layer.parameters for layer in found.layers) == checkpoint.parameters - outside
    assert not any(layer.odd for layer in found.layers)


def test_kinds_of_layers_are_told_apart_and_none_of_them_is_odd() -> None:
    checkpoint = table(predicted({"model_type": "deepseek_v3", "num_hidden_layers": 5, "first_k_dense_replace": 2,
                                  "n_routed_experts": 4, "hidden_size": 64, "moe_intermediate_size": 16}))  # fmt: skip
    layers = anatomy(checkpoint.tensors, checkpoint.tensors).layers
    assert [layer.kind for layer in layers] == [0, 0, 1, 1, 1]
    assert not any(layer.odd for layer in layers)


def test_one_layer_that_is_unlike_the_others_is_named_with_what_is_unlike() -> None:
    shapes = predicted(
        {"model_type": "llama", "num_hidden_layers": 6, "hidden_size": 64, "intermediate_size": 96}
    )
    del shapes["model.layers.4.mlp.up_proj.weight"]
    shapes["model.layers.4.mlp.down_proj.weight"] = (64, 80)
    tensors = table(shapes).tensors
    (odd,) = (layer for layer in anatomy(tensors, tensors).layers if layer.odd)
    assert odd.index == 4
    assert odd.odd == (
        "mlp.down_proj.weight is BF16 64 x 80, elsewhere BF16 64 x 96",
        "lacks mlp.up_proj.weight",
    )


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=300),
    others=st.lists(st.sampled_from([np.nan, np.inf, -np.inf]), max_size=3),
)
def test_statistics_are_numpys(
    values: list[float], others: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    array = np.array([*values, *others], np.float32)
    save_file({"w.weight": array}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({}))
    found = inspect(open_checkpoint(folder), values="full", tensors="w.*").statistics["w.weight"]
    finite = array[np.isfinite(array)].astype(np.float64)
    assert found.mean == pytest.approx(finite.mean(), abs=1e-9)
    assert found.std == pytest.approx(finite.std(), rel=1e-9, abs=1e-9)
    assert (found.absmax, found.zeros, found.others) == (
        np.abs(finite).max(),
        (finite == 0).sum(),
        len(others),
    )
    assert sum(found.histogram) == finite.size and len(found.histogram) == BINS


def test_only_what_was_asked_for_is_listed_and_nothing_is_an_error(tmp_path: Path) -> None:
    save_file(
        {f"layers.{n}.w": np.ones((n + 1, 4), np.float32) for n in range(3)}, tmp_path / "m.safetensors"
    )
    checkpoint = open_checkpoint(tmp_path)
    found = inspect(checkpoint, tensors="layers.[12].*", by_size=True)
    assert [tensor.name for tensor in found.chosen] == ["layers.2.w", "layers.1.w"]
    listed = found.document()["tensors"]
    assert isinstance(listed, list) and len(listed) == 2
    with pytest.raises(MissingInput, match=r"fits 'layer\.1'") as missing:
        inspect(checkpoint, tensors="layer.1")
    assert "layers.1.w" in missing.value.way_out
