"""Every page says what transformers builds, and the solver reads every page backwards."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.shapes.handmade import HANDMADE
from tests.shapes.predicted import NO_COPIES
from tests.shapes.reference import reference_shapes, table_of
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.page import Page, load_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.solve.fit import Fit, fit

# Written by hand first: `draw` knows their fields. The learned pages have tests of their own (test_catalog.py).
NATIVE = ("llama", "qwen2", "qwen3", "hrm_text")
PAGES = {**{t: load_page(t) for t in NATIVE}, **HANDMADE}
# What transformers needs beside the shape-bearing fields to build the class that a page describes.
FIXED: dict[str, dict[str, Any]] = {
    "falcon": {"new_decoder_architecture": True},
    "deepseek_v3": {"n_group": 1, "topk_group": 1, "num_experts_per_tok": 1},
}
SEEDS = range(6)


def draw(model_type: str, seed: int) -> dict[str, Any]:
    """A valid config in which every shape-bearing field has a value of its own."""
    rng = random.Random(f"{model_type}/{seed}")
    heads = rng.choice([2, 4, 6, 8, 12])
    kv = rng.choice([d for d in (1, 2, 3, 4, 6) if heads % d == 0])
    head_dim = 2 * rng.randrange(3, 24)
    free: dict[str, Any] = {
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "num_kv_heads": kv,
        "head_dim": head_dim,
        "hidden_size": heads * rng.choice([head_dim, 10, 22]),
        "num_hidden_layers": rng.randrange(2, 7),
        "num_local_experts": rng.randrange(2, 9),
        "n_routed_experts": rng.randrange(2, 9),
        "n_shared_experts": rng.randrange(1, 4),
        "first_k_dense_replace": rng.randrange(1, 2),
        "qk_nope_head_dim": rng.randrange(3, 40),
        "qk_rope_head_dim": 2 * rng.randrange(3, 20),
        "v_head_dim": rng.randrange(3, 40),
        "q_lora_rank": rng.choice([None, 44, 90]),
    }
    config = {}
    for name, field in PAGES[model_type].fields.items():
        if isinstance(field.value, bool):
            config[name] = rng.random() < 0.5
        else:
            config[name] = free.get(name, rng.randrange(30, 300))
    if model_type == "hrm_text":  # per-stack count in, see the page's `computed`
        del config["num_layers_per_stack"]
        config["mlp_bias"] = config["attention_bias"] = False  # transformers writes these under mixed names
    return config


def best_fit(page: Page, shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None) -> Fit:
    fits = [fit(page, layout, table_of(shapes), Stated(config, page), NO_COPIES) for layout in page.layouts]
    return min(fits, key=lambda f: f.distance)


def rebuilt(found: Fit) -> dict[str, tuple[int, ...]]:
    return predict(found.page.layouts[found.layout], found.solution.values)


@pytest.fixture(scope="module")
def cases() -> dict[tuple[str, int], tuple[dict[str, Any], dict[str, tuple[int, ...]]]]:
    found = {}
    for model_type in PAGES:
        for seed in SEEDS:
            config = draw(model_type, seed)
            found[model_type, seed] = (
                config,
                reference_shapes(model_type, {**FIXED.get(model_type, {}), **config}),
            )
    return found


@pytest.mark.parametrize("model_type", PAGES)
def test_a_true_config_predicts_exactly_what_transformers_builds(model_type: str, cases: Any) -> None:
    for seed in SEEDS:
        config, shapes = cases[model_type, seed]
        found = best_fit(PAGES[model_type], shapes, config)
        assert found.explains, (config, found.missing[:3], found.unmatched[:3], found.misfits[:3])
        assert rebuilt(found) == shapes
        stated = {name: value for name, value in config.items() if name in found.solution.options}
        assert {name: found.solution.values[name] for name in stated} == stated, (
            "a false alarm on a true config"
        )


@pytest.mark.parametrize("model_type", PAGES)
def test_a_config_without_sizes_is_derived_to_the_same_tensors(model_type: str, cases: Any) -> None:
    for seed in SEEDS:
        config, shapes = cases[model_type, seed]
        found = best_fit(PAGES[model_type], shapes, None)
        assert rebuilt(found) == shapes
        for name, options in found.solution.options.items():
            if len(options) == 1 and name in config:
                assert options[0] == config[name], f"{name} is claimed from the weights alone, and wrongly"
            elif options and name in config:
                assert config[name] in options, f"the candidates of {name} leave out the true one"


@pytest.mark.parametrize("model_type", PAGES)
def test_a_corrupted_config_is_corrected_to_the_same_tensors(model_type: str, cases: Any) -> None:
    for seed in SEEDS:
        config, shapes = cases[model_type, seed]
        rng = random.Random(seed)
        sizes = [n for n, v in config.items() if isinstance(v, int) and not isinstance(v, bool)]
        lied = {**config, **{name: config[name] * 2 + rng.randrange(1, 5) for name in rng.sample(sizes, k=3)}}
        found = best_fit(PAGES[model_type], shapes, lied)
        assert rebuilt(found) == shapes, (config, lied)


def test_every_field_of_latent_attention_is_determined() -> None:
    """DeepSeek-V3: elimination over products finds all of them without search."""
    config = {name: field.value for name, field in HANDMADE["deepseek_v3"].fields.items()}
    config |= {"num_hidden_layers": 6, "n_routed_experts": 4}
    shapes = predict(HANDMADE["deepseek_v3"].layouts[""], config)
    options = best_fit(HANDMADE["deepseek_v3"], shapes, None).solution.options
    assert {name for name in config if len(options[name]) != 1} == {"tie_word_embeddings"}
    assert {name: options[name][0] for name in config if len(options[name]) == 1} == {
        name: value for name, value in config.items() if name != "tie_word_embeddings"
    }


def test_a_boundary_beyond_the_last_layer_is_never_claimed() -> None:
    """first_k_dense_replace = 9 with 4 layers has the same tensors as 4: nothing tells them apart."""
    page = HANDMADE["deepseek_v3"]
    config = {name: field.value for name, field in page.fields.items()}
    config |= {"num_hidden_layers": 4, "first_k_dense_replace": 9}
    shapes = predict(page.layouts[""], config)
    found = best_fit(page, shapes, config)
    assert len(found.solution.options["first_k_dense_replace"]) != 1
    assert found.solution.values["first_k_dense_replace"] == 9


def test_joined_convolutions_are_read_as_published_and_as_saved() -> None:
    """OLMo hybrid: the published parts have the widths of their projections, the saved ones a third each."""
    page = load_page("olmo_hybrid")
    config = {
        **Stated(None, page).completed(),
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention"] * 4,
    }
    config |= {"layer_types": [*config["layer_types"][:3], "full_attention"], "linear_conv_kernel_dim": 6}
    for layout in ("saved", "published"):
        shapes = predict(page.layouts[layout], config)
        found = best_fit(page, shapes, {**config, "linear_conv_kernel_dim": 4})
        assert (found.layout, found.solution.options["linear_conv_kernel_dim"]) == (layout, (6,))
        assert found.explains


def test_shapes_that_a_refused_config_would_have_are_read_otherwise() -> None:
    """GPT-BigCode with one head has the same shapes with and without multi_query, which cross-attention forbids."""
    page = load_page("gpt_bigcode")
    config = {**Stated(None, page).completed(), "n_head": 1, "n_embd": 48, "n_layer": 2, "n_positions": 32}
    config |= {"multi_query": False, "add_cross_attention": True}
    found = best_fit(page, predict(page.layouts[""], config), {})
    assert found.explains
    assert found.solution.values["multi_query"] is False


@pytest.mark.parametrize(("multiple", "share"), [(64, 2.667), (40, 2.667), (64, 1.5)])
def test_a_share_that_is_rounded_up_is_given_as_it_is_stated_or_as_it_must_be(
    multiple: int, share: float
) -> None:
    page = load_page("xlstm")
    config = {**Stated(None, page).completed(), "hidden_size": 96, "num_heads": 4, "num_blocks": 2}
    config |= {"ffn_round_up_to_multiple_of": multiple, "ffn_proj_factor": share}
    shapes = predict(page.layouts[""], config)
    assert best_fit(page, shapes, config).solution.cost == 0
    bare = best_fit(page, shapes, {})
    assert bare.explains
    assert rebuilt(bare) == shapes


def test_a_flag_that_presence_and_a_list_decide_together_is_corrected() -> None:
    """Gemma 4's whole layers keep their value projections: keys are not values, whatever the file says."""
    page = load_page("gemma4_unified_assistant")
    kinds = ["sliding_attention", "full_attention", "sliding_attention", *["full_attention"] * 4]
    config = {**Stated(None, page).completed(), "tie_word_embeddings": True, "use_ordered_embeddings": False}
    sizes = {"hidden_size": 8, "num_hidden_layers": 7, "num_attention_heads": 16, "num_key_value_heads": 3}
    sizes |= {"head_dim": 96, "intermediate_size": 32, "vocab_size": 192, "num_kv_shared_layers": 2}
    flags = {"attention_bias": False, "attention_k_eq_v": False, "use_double_wide_mlp": True}
    text = {**sizes, **flags, "global_head_dim": 512, "layer_types": kinds}
    true = {"backbone_hidden_size": 32, "tie_word_embeddings": True, "text_config": text}
    values = {**config, "backbone_hidden_size": 32, **{f"text_config.{n}": v for n, v in text.items()}}
    shapes = predict(page.layouts[""], values)
    lied = {**true, "text_config": {**text, "attention_k_eq_v": True, "num_key_value_heads": 1}}
    found = best_fit(page, shapes, lied)
    assert found.explains
    assert found.solution.values["text_config.attention_k_eq_v"] is False
    assert len(found.solution.options["text_config.attention_k_eq_v"]) != 1
