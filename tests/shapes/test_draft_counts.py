"""The number of draft layers that a config states is what is stored: none where they were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.shapes.reference import tensor
from tests.shapes.test_no_model import H, Shapes, layer
from tests.shapes.test_packed import CONFIG, in_memory, plain
from weightsmith.shapes import infer
from weightsmith.shapes.given.draft_layers import set_aside, stored_layers

if TYPE_CHECKING:
    from weightsmith.shapes import Inference

BEHIND = "num_nextn_predict_layers"
UNDER = "mtp_num_hidden_layers"


def behind_the_last(count: int) -> Shapes:
    found: Shapes = {}
    for place in range(2, 2 + count):
        stem = f"model.layers.{place}."
        found |= {f"{stem}eh_proj.weight": (H, 2 * H), f"{stem}enorm.weight": (H,), **layer(stem)}
    return found


def under_a_prefix(count: int) -> Shapes:
    found: Shapes = {"mtp.fc.weight": (H, 2 * H), "mtp.norm.weight": (H,)} if count else {}
    for place in range(count):
        found |= layer(f"mtp.layers.{place}.")
    return found


def read(drafts: Shapes, config: dict[str, Any]) -> Inference:
    return infer(in_memory({n: tensor(n, s) for n, s in {**plain(), **drafts}.items()}), config)


@pytest.mark.parametrize("stored", [0, 1, 3])
@pytest.mark.parametrize("stated", [0, 1, 3])
@pytest.mark.parametrize(("drafts", "setting"), [(behind_the_last, BEHIND), (under_a_prefix, UNDER)])
def test_the_count_is_what_is_stored(drafts: Any, setting: str, stored: int, stated: int) -> None:
    found = read(drafts(stored), {**CONFIG, setting: stated})
    assert found.config == {**CONFIG, setting: stored}
    assert found.verdict == ("agrees" if stored == stated else "differs")


def test_a_count_in_the_text_part_is_corrected_there() -> None:
    found = read(under_a_prefix(1), {**CONFIG, "text_config": {UNDER: 0}})
    (row,) = found.changes
    assert (row.name, row.derived) == (f"text_config.{UNDER}", 1)


def test_a_config_that_counts_none_is_given_no_count() -> None:
    assert read(under_a_prefix(1), CONFIG).config == CONFIG
    assert read(behind_the_last(0), {**CONFIG, BEHIND: None}).verdict == "agrees"


def test_a_draft_layer_of_a_hybrid_model_is_stored_in_parts() -> None:
    parts = set_aside({name: tensor(name, shape) for name, shape in under_a_prefix(2).items()})
    assert (stored_layers({}, parts), stored_layers({"mtp_hybrid_override_pattern": "*E"}, parts)) == (2, 1)


def test_all_that_ernie_puts_beside_its_draft_layer_is_set_aside() -> None:
    names = (
        "model.mtp_block.0.mlp.up_proj.weight",
        "model.mtp_emb_norm.0.weight",
        "model.mtp_linear_proj.0.weight",
    )
    found = set_aside({name: tensor(name, (8, 8)) for name in (*names, "model.norm.weight")})
    assert found.names == names and found.layers == 1
