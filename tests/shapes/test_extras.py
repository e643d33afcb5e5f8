"""What rides along with a checkpoint without being part of the model: draft layers, buffers of older versions."""

from __future__ import annotations

import pytest

from tests.shapes.reference import reference_shapes, tensor
from tests.shapes.test_packed import CONFIG, SIZES, in_memory, plain
from weightsmith.shapes import infer
from weightsmith.shapes.given.draft_layers import set_aside


def test_a_draft_layer_is_no_layer_of_the_model() -> None:
    shapes = plain()
    last = {n.replace("layers.1.", "layers.2."): s for n, s in shapes.items() if "layers.1." in n}
    shapes |= {**last, "model.layers.2.eh_proj.weight": (256, 512), "model.layers.2.enorm.weight": (256,)}
    checkpoint = in_memory({name: tensor(name, shape) for name, shape in shapes.items()})
    found = infer(checkpoint, {**CONFIG, "num_nextn_predict_layers": 1})
    assert found.verdict == "agrees"
    assert {f.name: f.status for f in found.fields}["num_nextn_predict_layers"] == "agrees"
    wrong = infer(checkpoint, {**CONFIG, "num_nextn_predict_layers": 3, "num_hidden_layers": 3})
    assert {f.name: f.derived for f in wrong.changes} == {
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 1,
    }


LAYERS = ("num_hidden_layers", "hidden_size")
OLD = {
    "gpt2": ("transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"),
    "gpt_neox": ("gpt_neox.layers.{}.attention.bias", "gpt_neox.layers.{}.attention.rotary_emb.inv_freq"),
    "llama": ("model.layers.{}.self_attn.rotary_emb.inv_freq",),
    "qwen2": ("model.layers.{}.self_attn.rotary_emb.inv_freq",),
}


@pytest.mark.parametrize("model_type", OLD)
def test_buffers_of_older_versions_say_nothing_against_a_family(model_type: str) -> None:
    """Llama 2 was published with rotary frequencies, GPT-2 with its causal mask: loaders skip both."""
    names = ("n_head", "n_layer", "n_embd") if model_type == "gpt2" else ("num_attention_heads", *LAYERS)
    sizes = {"vocab_size": 300, **dict(zip(names, (4, 2, 64), strict=True))}
    config = {"model_type": model_type, **sizes}
    shapes = dict(reference_shapes(model_type, sizes))
    for text in OLD[model_type]:
        shape = (8,) if text.endswith("inv_freq") else (1, 1, 1024, 1024) if text.endswith(".bias") else ()
        shapes |= {text.format(layer): shape for layer in range(2)}
    checkpoint = in_memory({name: tensor(name, shape) for name, shape in shapes.items()})
    found = infer(checkpoint, config)
    assert found.architecture.model_type == model_type and not found.architecture.unmatched_tensors
    assert not [f.name for f in found.changes if f.name != "architectures"]
    assert infer(checkpoint, None).architecture.model_type == model_type


def test_the_rotation_that_modelslim_saves_for_the_draft_is_no_tensor_of_the_model() -> None:
    shapes = {**plain(), "rot.weight": (256, 256)}
    found = infer(in_memory({name: tensor(name, shape) for name, shape in shapes.items()}), CONFIG)
    assert found.verdict == "agrees" and not found.architecture.unmatched_tensors


def test_a_plain_table_is_left_as_it_is() -> None:
    table = {name: tensor(name, shape) for name, shape in plain().items()}
    assert set_aside(table).tensors is table
    assert SIZES["num_hidden_layers"] == 2
