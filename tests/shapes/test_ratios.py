"""Rounded products of a fraction: proposals that satisfy every size, never claims."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shapes.predicted import NO_COPIES
from tests.shapes.reference import table_of
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.page import parse_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.solve.fit import fit

PAGE = parse_page(
    {
        "model_type": "rounded",
        "architectures": ["Rounded"],
        "source": "made for this test",
        "fields": {"hidden_size": 64, "multiple": 8, "mlp_ratio": 2.0},
        "tensors": {
            "embed.weight": "500, hidden_size",
            "up.weight": "((int(hidden_size * mlp_ratio) + multiple - 1) // multiple) * multiple, hidden_size",
        },
    }
)
((LAYOUT, PATTERNS),) = PAGE.layouts.items()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"hidden_size": 64, "multiple": 8, "mlp_ratio": 2.0}, "what is stated holds"),
        ({"hidden_size": 96, "multiple": 8, "mlp_ratio": 2.5}, "the fraction alone"),
        (
            {"hidden_size": 64, "multiple": 20, "mlp_ratio": 2.1},
            "the multiple alone: no fraction gives 140 in eights",
        ),
        (
            {"hidden_size": 64, "multiple": 25, "mlp_ratio": 1.5},
            "both: 100 is no multiple of 8 and below 2.0 x 64",
        ),
    ],
)
def test_open_fields_of_a_rounded_product_are_proposed(config: dict[str, Any], why: str) -> None:
    shapes = predict(PATTERNS, config)
    found = fit(PAGE, LAYOUT, table_of(shapes), Stated({"model_type": "rounded"}, PAGE), NO_COPIES)
    assert found is not None and predict(PATTERNS, found.solution.values) == shapes, why
    assert found.solution.options["hidden_size"] == (config["hidden_size"],)
    assert found.solution.options.get("mlp_ratio", ()) == (), "a fraction is never certain"
