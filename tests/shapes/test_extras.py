"""Draft layers ride along with a checkpoint without being counted as layers of the model."""

from __future__ import annotations

from tests.shapes.reference import tensor
from tests.shapes.test_packed import CONFIG, SIZES, in_memory, plain
from weightsmith.shapes import infer
from weightsmith.shapes.extras import set_aside


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


def test_a_plain_table_is_left_as_it_is() -> None:
    table = {name: tensor(name, shape) for name, shape in plain().items()}
    assert set_aside(table).tensors is table
    assert SIZES["num_hidden_layers"] == 2
