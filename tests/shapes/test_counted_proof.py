"""A config is proven by counting the tensors of a role; where the counts do not fit, name by name, to the same end."""

from __future__ import annotations

import random

import pytest

from tests.shapes.reference import table_of
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.given.roles import match
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.solve import check
from weightsmith.shapes.solve.solution import complete

SMALL = {
    "llama": {"num_hidden_layers": 3, "vocab_size": 300},
    "qwen3_moe": {"num_hidden_layers": 4, "num_experts": 4, "mlp_only_layers": [1]},
    "deepseek_v3": {"num_hidden_layers": 4, "n_routed_experts": 4, "first_k_dense_replace": 1},
    "falcon_h1": {"num_hidden_layers": 3},
    "gpt2": {"n_layer": 2},
    "t5": {"num_layers": 2, "num_decoder_layers": 3},
    "zamba2": {},
}


@pytest.mark.parametrize("model_type", SMALL)
def test_counting_says_what_every_name_says(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = load_page(model_type)
    patterns = page.layouts[next(iter(page.layouts))]
    values = complete(Stated(SMALL[model_type], page), {})
    shapes = predict(patterns, values)
    rng = random.Random(model_type)
    for trial in range(12):
        table = dict(shapes)
        for name in rng.sample(sorted(table), k=trial % 4):
            changed = rng.choice(["lost", "wide", "renamed"])
            shape = table.pop(name)
            table |= {"wide": {name: (*shape, 2)}, "renamed": {name.replace("0", "7"): shape}}.get(
                changed, {}
            )
        matching = match(patterns, table_of(table))
        counted = check.prove(matching, values)
        with monkeypatch.context() as patch:
            patch.setattr(check._Comparison, "_is_as_predicted", lambda *_: False)
            spelled = check.prove(matching, values)
        assert counted == spelled
        assert bool(counted.faults) == (table != shapes)
