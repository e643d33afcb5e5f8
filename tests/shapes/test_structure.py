"""Flags, boundaries and layer lists: what the presence of tensors proves is found, and nothing more is claimed."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shapes.predicted import NO_COPIES
from tests.shapes.reference import table_of
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.page import Page, load_page, parse_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.solve.fit import Fit, fit

FIELDS: dict[str, Any] = {
    "layers": 4, "first": 1, "step": 1, "kinds": None, "only": [], "bias": False, "gated": False, "rank": None,
    "width": 8, "inner": 16, "heads": 2,
}  # fmt: skip
LAYER = "l.{layer:layers}."
# Conditions of real pages, each over its own fields; any set of them is a page.
CONDITIONED = {
    LAYER + "dense": "inner, width if layer < first",
    LAYER + "moe": "inner if layer >= first",
    LAYER + "every": "width if layer % step == 0",
    LAYER + "full": "width, width if kinds[layer] == 'full'",
    LAYER + "linear": "inner if kinds[layer] == 'linear'",
    LAYER + "spared": "width if layer not in only and layer >= first",
    LAYER + "b": "width if bias",
    LAYER + "gate": "width if bias and not gated",
    LAYER + "low": "rank, width if rank is not None",
    LAYER + "high": "width if rank is None",
    "either": ["2 * inner, width if gated", "inner, width"],
}


def page_of(names: list[str]) -> Page:
    tensors = {"e": "width", LAYER + "n": "width", LAYER + "qkv": "heads * width"}
    tensors |= {name: CONDITIONED[name] for name in names}
    return parse_page(
        {
            "model_type": "made-up",
            "fields": FIELDS,
            "lists": {"kinds": "layers"},
            "choices": {"kinds": ["full", "linear", "none"]},
            "tensors": tensors,
        }
    )


def draw(rng: random.Random) -> dict[str, Any]:
    layers = rng.randrange(1, 5)
    return {
        "layers": layers,
        "first": rng.randrange(0, 7),
        "step": rng.randrange(1, 6),
        "kinds": [rng.choice(["full", "linear", "none"]) for _ in range(layers)],
        "only": sorted(rng.sample(range(layers), k=rng.randrange(layers + 1))),
        "bias": rng.random() < 0.5,
        "gated": rng.random() < 0.5,
        "rank": rng.choice([None, 3, 5]),
        "width": rng.randrange(4, 40),
        "inner": rng.randrange(4, 40),
        "heads": rng.randrange(1, 9),
    }


def solve(page: Page, shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None) -> Fit:
    found = fit(page, "", table_of(shapes), Stated(config, page), NO_COPIES)
    assert found is not None
    return found


@settings(deadline=None, max_examples=150)
@given(st.sets(st.sampled_from(sorted(CONDITIONED)), min_size=1), st.integers(0, 10**6))
def test_what_is_derived_rebuilds_and_what_is_claimed_is_true(names: set[str], seed: int) -> None:
    page = page_of(sorted(names))
    truth = draw(random.Random(seed))
    shapes = predict(page.layouts[""], truth)
    for config in (None, truth, {**truth, "first": 3, "bias": not truth["bias"]}):
        found = solve(page, shapes, config)
        assert predict(page.layouts[""], found.solution.values) == shapes
        assert found.explains
        for name, options in found.solution.options.items():
            if name in truth and len(options) == 1:
                assert norm(options[0]) == norm(truth[name]), (
                    f"{name} is claimed from the weights, and wrongly"
                )
            elif name in truth and options:
                assert norm(truth[name]) in map(norm, options), (
                    f"the candidates of {name} leave out the true one"
                )
    kept = solve(page, shapes, truth).solution.values
    assert {n: norm(kept[n]) for n in truth} == {n: norm(v) for n, v in truth.items()}, (
        "a true config is kept"
    )


def norm(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def test_every_layer_list_is_found_from_which_tensors_each_layer_has() -> None:
    page = page_of([LAYER + "full", LAYER + "linear"])
    for kinds in product(["full", "linear", "none"], repeat=3):
        truth = {**draw(random.Random(1)), "layers": 3, "kinds": list(kinds)}
        found = solve(page, predict(page.layouts[""], truth), None)
        assert found.solution.options["kinds"] == (kinds,)


@pytest.mark.parametrize("layers", [3, 4])
def test_a_list_longer_than_the_layers_is_never_claimed(layers: int) -> None:
    page = page_of([LAYER + "spared"])
    truth = {**draw(random.Random(2)), "layers": layers, "first": 0, "only": [1]}
    options = solve(page, predict(page.layouts[""], truth), None).solution.options
    assert len(options["first"]) != 1 or options["first"] == (0,)


@pytest.mark.parametrize("ratio", [0.5, 0.25, 1.0, 1 / 3])
def test_how_far_an_image_is_folded_is_proposed_and_never_claimed(ratio: float) -> None:
    page = parse_page(
        {
            "model_type": "made-up",
            "fields": {"width": 64, "out": 32, "ratio": 0.5},
            "tensors": {"norm": "width", "fold": "out, width * int(1 / ratio) ** 2"},
        }
    )
    truth = {"width": 96, "out": 48, "ratio": ratio}
    shapes = predict(page.layouts[""], truth)
    assert solve(page, shapes, truth).solution.values == truth
    for config in (None, {**truth, "ratio": 0.125}, {"out": 48}):
        found = solve(page, shapes, config)
        assert predict(page.layouts[""], found.solution.values) == shapes
        assert len(found.solution.options["ratio"]) != 1


def test_lists_that_the_shapes_leave_come_before_those_that_presence_leaves() -> None:
    """gemma4_text: presence alone leaves more lists than are tried, and the true one was not among the first."""
    full, sliding = "full_attention", "sliding_attention"
    truth = {
        "hidden_size": 120,
        "num_hidden_layers": 7,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 48,
        "intermediate_size": 48,
        "vocab_size": 48,
        "hidden_size_per_layer_input": 4,
        "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": 120,
        "layer_types": [full, full, sliding, full, full, sliding, full],
        "tie_word_embeddings": False,
    }
    page = load_page("gemma4_text")
    shapes = predict(page.layouts[""], {**Stated(None, page).completed(), **truth})
    found = solve(page, shapes, {"model_type": "gemma4_text"})
    assert predict(page.layouts[""], found.solution.values) == shapes


def test_a_tied_head_may_be_stored_but_not_a_tied_copy_of_a_whole_model() -> None:
    parts = "abcdef"
    page = parse_page(
        {
            "model_type": "twins",
            "fields": {"width": 8, "tie_word_embeddings": True},
            "copies": {f"twin.{part}": part for part in parts},
            "tensors": dict.fromkeys(parts, "width")
            | {f"twin.{part}": "width if not tie_word_embeddings" for part in parts},
        }
    )
    tied = {"model_type": "twins", "width": 8, "tie_word_embeddings": True}
    stored = {name: (8,) for part in parts for name in (part, f"twin.{part}")}
    assert solve(page, stored, tied).solution.values["tie_word_embeddings"] is False
    spare = {"twin.b", "twin.c", "twin.d", "twin.e", "twin.f"}
    one_head = {name: shape for name, shape in stored.items() if name not in spare}
    assert solve(page, one_head, tied).solution.values["tie_word_embeddings"] is True


@pytest.mark.parametrize("wide", [True, False])
def test_a_second_model_is_not_tied_where_a_flag_beside_it_decides_about_shapes(wide: bool) -> None:
    """Each value of the flag is solved on its own, and what is stored though tied has its price in each."""
    parts = "abcdef"
    twin = ["2 * width if wide and not tie_word_embeddings", "width if not tie_word_embeddings"]
    page = parse_page(
        {
            "model_type": "twins",
            "fields": {"width": 8, "wide": False, "tie_word_embeddings": True},
            "copies": {f"twin.{part}": part for part in parts},
            "tensors": {part: ["2 * width if wide", "width"] for part in parts}
            | {f"twin.{part}": twin for part in parts}
            | {"norm": "width"},
        }
    )
    truth = {"width": 8, "wide": wide, "tie_word_embeddings": False}
    found = solve(page, predict(page.layouts[""], truth), {"model_type": "twins"})
    assert found.explains and found.solution.values == truth


@pytest.mark.parametrize("odd", ["odd.weight", "l.0.self_attn.rotary_emb.inv_freq"])
def test_a_tensor_that_no_equation_tells_of_leaves_the_choice_among_answers_as_it_is(odd: str) -> None:
    """The cheapest answer here is a tied head of another shape than is stored, the next one explains all there is."""
    page = parse_page(
        {
            "model_type": "made-up",
            "fields": {"width": 8, "wide": False, "tie_word_embeddings": True},
            "unexpressed": {"odd.weight": "no equation found for its shape"},
            "copies": {"head": "embedding"},
            "tensors": {
                "norm": "width",
                "embedding": ["2 * width if wide", "width"],
                "head": ["2 * width if wide and not tie_word_embeddings", "width if not tie_word_embeddings"],
            },
        }
    )
    truth = {"width": 8, "wide": False, "tie_word_embeddings": False}
    stated = {"model_type": "made-up", "tie_word_embeddings": True}
    found = solve(page, {**predict(page.layouts[""], truth), odd: (3,)}, stated)
    assert found.explains and found.solution.values == truth
