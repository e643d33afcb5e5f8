"""Kinds of layers: which a class builds, in which words configs list them, and what the tensors of each layer force."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.predicted import NO_COPIES, predicted, table
from tests.shapes.reference import reference_shapes, table_of
from tests.shapes.test_learn import StandIn
from weightsmith.checkpoint import open_checkpoint
from weightsmith.shapes import infer
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.learn.probe.layer_kinds import layer_kinds
from weightsmith.shapes.learn.probe.probe import BuildObservation
from weightsmith.shapes.learn.probe.trial_values import alternatives
from weightsmith.shapes.page.list_spellings import OtherWords, Places
from weightsmith.shapes.page.page import load_page, parse_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.reference.list_words import list_spellings
from weightsmith.shapes.solve.fit import fit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FULL, LINEAR, CONV = "full_attention", "linear_attention", "conv"


# ---- the ways to say a list ----

LETTERS = OtherWords("kinds", "pattern", {"M": LINEAR, "*": FULL})
OLDER = OtherWords("kinds", "kinds", {"mamba": LINEAR, "attention": FULL})
FLAGS = OtherWords("kinds", "freq", {"0": FULL, "1": LINEAR})
RATIOS = OtherWords("kinds", "ratios", {"0": FULL, "4": LINEAR, "128": CONV}, longer=True)
ONE_KIND = Places("kinds", {"full_idxs": FULL}, CONV, 0)
BOTH = Places("kinds", {"a.full": FULL, "a.linear": LINEAR}, None, 1)


@pytest.mark.parametrize(
    ("spelling", "said", "items"),
    [
        (LETTERS, {"pattern": "M*M"}, [LINEAR, FULL, LINEAR]),
        (OLDER, {"kinds": ["mamba", "attention", "mamba"]}, [LINEAR, FULL, LINEAR]),
        (FLAGS, {"freq": [1, 0, 1]}, [LINEAR, FULL, LINEAR]),
        (RATIOS, {"ratios": [4, 128, 0]}, [LINEAR, CONV, FULL]),
        (RATIOS, {"ratios": [4, 128, 0, 0]}, [LINEAR, CONV, FULL]),  # and a draft layer
        (ONE_KIND, {"full_idxs": [2, 0]}, [FULL, CONV, FULL]),
        (ONE_KIND, {"full_idxs": []}, [CONV, CONV, CONV]),
        (BOTH, {"a.full": [2], "a.linear": [1, 3]}, [LINEAR, FULL, LINEAR]),
    ],
)
def test_what_is_said_in_another_way_is_read_and_written_back(spelling: Any, said: Any, items: Any) -> None:
    assert spelling.read(said, 3) == items
    assert spelling.write(items, said) == said


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        (LETTERS, {"pattern": "M?M"}),
        (LETTERS, {"pattern": 3}),
        (FLAGS, {"freq": [1, 2, 1]}),
        (FLAGS, {"freq": [True, False, True]}),
        (RATIOS, {"ratios": [4, 8, 0]}),
        (OLDER, {"kinds": [LINEAR, FULL, FULL]}),  # the page's own words need no reading
        (ONE_KIND, {"full_idxs": [3]}),
        (ONE_KIND, {"full_idxs": "2"}),
        (BOTH, {"a.full": [2], "a.linear": [1]}),  # what is the third layer?
    ],
)
def test_what_cannot_be_read_is_no_list(spelling: Any, said: Any) -> None:
    assert spelling.read(said, 3) is None


def test_a_list_is_corrected_in_the_words_of_the_file() -> None:
    items = [LINEAR, FULL, CONV]
    assert OLDER.write(items, {"kinds": ["attention"] * 3}) == {"kinds": ["mamba", "attention", CONV]}
    assert OLDER.write(items, {"kinds": [FULL] * 3}) == {"kinds": items}
    assert LETTERS.write(items, {"pattern": "***"}) is None, "there is no letter for it"
    assert ONE_KIND.write(items, {"full_idxs": [0]}) is None, "a third kind has no place"


# ---- what a config class takes ----


@pytest.mark.parametrize(
    ("model_type", "kinds", "count", "expected"),
    [
        (
            "nemotron_h",
            {"layers_block_type": [LINEAR, "moe", FULL, "mlp"]},
            {},
            {"name": "hybrid_override_pattern", "words": {"M": LINEAR, "E": "moe", "*": FULL, "-": "mlp"}},
        ),
        (
            "granitemoehybrid",
            {"layer_types": [LINEAR, FULL]},
            {"layer_types": "num_hidden_layers"},
            {"name": "layer_types", "words": {"mamba": LINEAR, "attention": FULL}},
        ),
        (
            "lfm2",
            {"layer_types": [FULL, CONV]},
            {"layer_types": "num_hidden_layers"},
            {"places": {"full_attn_idxs": FULL}, "others": CONV, "first": 0},
        ),
        (
            "minimax_m3_vl_text",
            {"layer_types": [FULL, "minimax_m3_sparse"]},
            {"layer_types": "num_hidden_layers"},
            {
                "name": "sparse_attention_config.sparse_attention_freq",
                "words": {"0": FULL, "1": "minimax_m3_sparse"},
            },
        ),
        (
            "deepseek_v4",
            {
                "layer_types": [
                    "heavily_compressed_attention",
                    "compressed_sparse_attention",
                    "sliding_attention",
                ]
            },
            {"layer_types": "num_hidden_layers"},
            {
                "name": "compress_ratios",
                "words": {
                    "0": "sliding_attention",
                    "4": "compressed_sparse_attention",
                    "128": "heavily_compressed_attention",
                },
                "longer": True,
            },
        ),
        (
            "kimi_linear",
            {"layer_types": [LINEAR, FULL]},
            {"layer_types": "num_hidden_layers"},
            {
                "places": {
                    "linear_attn_config.full_attn_layers": FULL,
                    "linear_attn_config.kda_layers": LINEAR,
                },
                "first": 1,
            },
        ),
    ],
)
def test_other_ways_to_say_a_list_are_learned_from_the_class(
    model_type: str, kinds: Any, count: Any, expected: dict[str, Any]
) -> None:
    (field,) = kinds
    assert {"list": field, **expected} in list_spellings(model_type, kinds, count)


def test_no_other_way_is_invented() -> None:
    found = list_spellings(
        "qwen3_next", {"layer_types": [LINEAR, FULL]}, {"layer_types": "num_hidden_layers"}
    )
    assert [one["name"] for one in found] == ["layer_types"]


def test_settings_of_every_class_are_not_tried() -> None:
    """A `dtype` of words is one that no class can print."""
    kinds = {"mlp_layer_types": ["dense", "sparse"]}
    assert list_spellings("hy_v4", kinds, {"mlp_layer_types": "num_hidden_layers"}) == []


# ---- which kinds are learned ----


def layers(values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """A class that knows two kinds of layers, takes every other word for the second, and lists only the first."""
    return {f"l.{i}.{'ssm' if k == LINEAR else 'q'}": (4,) for i, k in enumerate(values["layer_types"])}


def test_a_kind_that_the_default_config_has_not_is_tried_by_transformers_own_words() -> None:
    base: dict[str, Any] = {"layer_types": (LINEAR,) * 3, "num_hidden_layers": 3, "modes": ("a", "b")}
    first = BuildObservation(base, base, {"X": layers(base)}, {"X": {}}, None, ())
    lab = StandIn("granitemoehybrid", ("X",), dict(base), tensors=layers)
    words = {"layer_types": (LINEAR, "eager", "hidden_states")}
    assert layer_kinds(lab, first, words) == {"layer_types": (LINEAR, FULL)}


def test_a_word_that_a_class_leaves_a_layer_empty_for_is_no_kind() -> None:
    def known(values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in layers(values).items() if FULL in values["layer_types"]}

    base: dict[str, Any] = {"layer_types": (FULL,) * 3, "num_hidden_layers": 3}
    first = BuildObservation(base, base, {"X": known(base)}, {"X": {}}, None, ())
    lab = StandIn("granitemoehybrid", ("X",), dict(base), tensors=known)
    assert layer_kinds(lab, first, {}) == {"layer_types": (FULL,)}


def test_a_list_of_layers_is_tried_where_the_default_is_null() -> None:
    assert (1,) in alternatives({}, "attn_layer_indices", None, all_of_them=True)


@pytest.mark.parametrize("model_type", ["bamba", "granitemoehybrid"])
def test_hybrid_pages_have_attention(model_type: str) -> None:
    patterns = next(iter(load_page(model_type).layouts.values()))
    assert any("self_attn.q_proj" in pattern.text for pattern in patterns)


# ---- what the tensors of each layer force ----

LAYER = "l.{layer:len(kinds)}."
HYBRID = parse_page(
    {
        "model_type": "made-up",
        "fields": {"width": 8, "inner": 4, "experts": 4, "latent": None, "kinds": [LINEAR, "moe", FULL, "mlp"],
                   "bias": False, "conv_bias": True, "moe_bias": False, "scaled": False},
        "choices": {"kinds": [LINEAR, "moe", FULL, "mlp"]},
        "tensors": {
            LAYER + "norm": "width",
            LAYER + "a": f"inner if kinds[layer] == '{LINEAR}'",
            LAYER + "a.b": f"inner if bias and kinds[layer] == '{LINEAR}'",
            LAYER + "conv.b": f"inner if kinds[layer] == '{LINEAR}' and conv_bias",
            LAYER + "q": f"width, width if kinds[layer] == '{FULL}'",
            LAYER + "up": "inner, width if kinds[layer] == 'mlp'",
            LAYER + "up.b": "inner if kinds[layer] == 'mlp' and scaled",
            LAYER + "e.{experts}.w": "inner, width if kinds[layer] == 'moe'",
            LAYER + "low": "latent, width if kinds[layer] == 'moe' and latent is not None",
            LAYER + "low.b": "latent if moe_bias and kinds[layer] == 'moe' and latent is not None",
        },
    }
)  # fmt: skip
TRUTH: dict[str, Any] = {"width": 16, "inner": 6, "bias": True, "conv_bias": False, "scaled": True, "moe_bias": False,
                         "experts": 4, "latent": None,
                         "kinds": [LINEAR, "mlp", LINEAR, "mlp", LINEAR, FULL, "mlp"] * 6}  # fmt: skip


def test_many_kinds_and_flags_take_no_time_and_each_flag_is_decided_by_itself() -> None:
    shapes = predict(HYBRID.layouts[""], TRUTH)
    for config in (None, TRUTH, {**TRUTH, "kinds": [FULL] * 42}, {**TRUTH, "kinds": TRUTH["kinds"][:-1]}):
        started = time.process_time()
        found = fit(HYBRID, "", table_of(shapes), Stated(config, HYBRID), NO_COPIES)
        assert time.process_time() - started < 1.0
        assert found is not None and found.explains
        assert found.solution.options["kinds"] == (tuple(TRUTH["kinds"]),)
        for flag in ("bias", "conv_bias", "scaled"):
            assert found.solution.options[flag] == (TRUTH[flag],)
        assert len(found.solution.options.get("latent", ())) != 1, "no layer has experts: nothing tells"


def test_a_lost_tensor_takes_no_kind_with_it() -> None:
    shapes = predict(HYBRID.layouts[""], TRUTH)
    del shapes["l.2.a"]
    assert fit(HYBRID, "", table_of(shapes), Stated(None, HYBRID), NO_COPIES, exactly=True) is None
    found = fit(HYBRID, "", table_of(shapes), Stated(None, HYBRID), NO_COPIES)
    assert found is not None and found.missing == ("l.2.a",) and not found.unmatched
    assert found.solution.values["kinds"] == tuple(TRUTH["kinds"])


SHARED = parse_page(
    {
        "model_type": "made-up",
        "fields": {"width": 8, "blocks": 1, "kinds": [LINEAR, LINEAR, FULL, LINEAR]},
        "choices": {"kinds": [LINEAR, FULL]},
        "tensors": {
            LAYER + "a": f"width, width if kinds[layer] == '{LINEAR}'",
            LAYER + "q": f"width if kinds[layer] == '{FULL}'",
            LAYER + "shared": f"width, width if kinds[layer] == '{FULL}' "
            f"and sum([kinds[i] == '{FULL}' for i in range(layer)]) < blocks",
        },
    }
)  # fmt: skip


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_blocks_that_the_first_layers_of_a_kind_have_are_counted(blocks: int) -> None:
    """Later layers of the kind use them too, and store none of their own."""
    truth = {"width": 16, "blocks": blocks, "kinds": [LINEAR, LINEAR, FULL] * 5}
    shapes = predict(SHARED.layouts[""], truth)
    for config in (None, truth, {**truth, "blocks": blocks + 1}):
        found = fit(SHARED, "", table_of(shapes), Stated(config, SHARED), NO_COPIES)
        assert found is not None and found.explains
        assert found.solution.options["kinds"] == (tuple(truth["kinds"]),)
        assert found.solution.options["blocks"] == (blocks,)


def test_a_condition_with_an_open_part_holds_or_fails_by_the_others() -> None:
    """`bias and kinds[layer] == 'moe'` is false of every other kind, whatever the flag is."""
    page = parse_page({"model_type": "x", "fields": {"a": 1, "b": 1}, "tensors": {"t": "a if a and b == 1"}})
    (pattern,) = page.layouts[""]
    condition = pattern.variants[0].condition
    assert condition is not None
    assert condition.truth({"b": 2}) is False and condition.truth({"a": 0}) is False
    assert condition.truth({"b": 1}) is None and condition.truth({"a": 1, "b": 1}) is True


# ---- published words, as a user meets them ----

NEMOTRON = {
    "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 6, "hybrid_override_pattern": "M-M*-M", "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "vocab_size": 320, "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 16, "n_groups": 2,
    "conv_kernel": 4,
}  # fmt: skip
NEMOTRON_LIST = [LINEAR, "mlp", LINEAR, FULL, "mlp", LINEAR]


@pytest.mark.parametrize("pattern", ["M-M*-M", "M-M*-", "M-M*-MM", "*-M*-M", "M-M?-M"])
def test_a_pattern_is_corrected_as_a_pattern(pattern: str) -> None:
    stored = predicted({**NEMOTRON, "layers_block_type": NEMOTRON_LIST})
    found = infer(table(stored), {**NEMOTRON, "hybrid_override_pattern": pattern})
    assert found.verdict == ("agrees" if pattern == "M-M*-M" else "differs")
    assert found.config == NEMOTRON


LFM2 = {
    "architectures": ["Lfm2ForCausalLM"], "model_type": "lfm2", "hidden_size": 64, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "block_multiple_of": 8,
    "block_auto_adjust_ff_dim": False, "conv_L_cache": 3, "vocab_size": 320, "full_attn_idxs": [1, 3],
}  # fmt: skip


@pytest.mark.parametrize("places", [[1, 3], [1], [0, 1, 3], [2, 3]])
def test_numbers_of_layers_are_corrected_as_numbers(places: list[int]) -> None:
    stored = predicted({**LFM2, "layer_types": [FULL if i in (1, 3) else CONV for i in range(5)]})
    found = infer(table(stored), {**LFM2, "full_attn_idxs": places})
    assert found.verdict == ("agrees" if places == [1, 3] else "differs")
    assert found.config == LFM2


@pytest.mark.parametrize("layers", [4, 6, 9])
def test_a_wrong_number_of_layers_is_all_that_is_told(layers: int) -> None:
    stored = predicted({**LFM2, "layer_types": [FULL if i in (1, 3) else CONV for i in range(5)]})
    found = infer(table(stored), {**LFM2, "num_hidden_layers": layers})
    assert [row.name for row in found.changes] == ["num_hidden_layers"] and not found.problems
    assert found.config == LFM2


def test_a_list_beside_its_old_words_is_the_one_that_counts() -> None:
    stored = predicted({**NEMOTRON, "layers_block_type": NEMOTRON_LIST})
    both = {**NEMOTRON, "layers_block_type": NEMOTRON_LIST, "hybrid_override_pattern": "******"}
    assert infer(table(stored), both).verdict == "agrees"


BAMBA = {
    "architectures": ["BambaForCausalLM"], "model_type": "bamba", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320, "mamba_d_state": 8,
    "mamba_n_heads": 8, "mamba_d_head": 16, "attn_layer_indices": [1, 4],
}  # fmt: skip


@pytest.mark.parametrize("places", [[1, 4], [1], [], None])
def test_attention_layers_are_named_by_their_numbers(places: list[int] | None) -> None:
    found = infer(table(predicted(BAMBA)), {**BAMBA, "attn_layer_indices": places})
    assert found.verdict == ("agrees" if places == [1, 4] else "differs")
    assert found.config == BAMBA


QWEN3_NEXT = {
    "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 64, "num_hidden_layers": 7,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320, "num_experts": 4,
    "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "full_attention_interval": 3,
}  # fmt: skip


def test_a_number_that_makes_the_list_is_corrected_and_no_list_is_put_beside_it() -> None:
    checkpoint = table(predicted(QWEN3_NEXT))
    assert infer(checkpoint, QWEN3_NEXT).verdict == "agrees"
    found = infer(checkpoint, {**QWEN3_NEXT, "full_attention_interval": 4})
    assert [row.name for row in found.changes] == ["full_attention_interval"]
    assert found.config == QWEN3_NEXT
    stored = predicted({**QWEN3_NEXT, "layer_types": [FULL, LINEAR, LINEAR, FULL, FULL, LINEAR, LINEAR]})
    beside = infer(table(stored), QWEN3_NEXT)
    assert [row.name for row in beside.changes] == ["layer_types"], "no interval makes this list"


JAMBA = {
    "architectures": ["JambaForCausalLM"], "model_type": "jamba", "hidden_size": 64, "num_hidden_layers": 14,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 320, "num_experts": 2,
    "mamba_dt_rank": 4, "attn_layer_period": 8, "attn_layer_offset": 4,
}  # fmt: skip


def test_how_often_attention_comes_is_read_from_its_layers() -> None:
    """jamba: the second of them is the thirteenth layer, and no small model has as many."""
    checkpoint = table(predicted(JAMBA))
    assert "model.layers.12.self_attn.q_proj.weight" in checkpoint.tensors
    assert infer(checkpoint, JAMBA).verdict == "agrees"
    assert infer(checkpoint, {**JAMBA, "attn_layer_period": 6}).config == JAMBA
    derived = infer(checkpoint, None).config
    assert (derived["attn_layer_period"], derived["attn_layer_offset"]) == (8, 4)


GRANITE = {
    "architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid", "hidden_size": 64,
    "intermediate_size": 32, "shared_intermediate_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_local_experts": 3, "vocab_size": 320, "mamba_d_state": 8, "mamba_n_heads": 8,
    "mamba_d_head": 16, "layer_types": ["mamba", "attention", "mamba", "mamba", "attention"],
}  # fmt: skip


@pytest.mark.parametrize("kinds", [GRANITE["layer_types"], ["attention"] * 5, ["mamba"] * 4, None])
def test_older_words_stay_where_the_family_has_them(kinds: Any) -> None:
    """Every version of transformers takes `mamba` and `attention` of granite-4.0-h; the newest has other words."""
    modern = [{"mamba": LINEAR, "attention": FULL}[str(kind)] for kind in GRANITE["layer_types"]]
    checkpoint = table(predicted({**GRANITE, "layer_types": modern}))
    found = infer(checkpoint, {n: v for n, v in {**GRANITE, "layer_types": kinds}.items() if v})
    assert found.verdict == ("agrees" if kinds == GRANITE["layer_types"] else "differs")
    assert found.config == GRANITE
    assert infer(checkpoint, {**GRANITE, "layer_types": modern}).verdict == "agrees"
    assert infer(checkpoint, None).config["layer_types"] == GRANITE["layer_types"]


def test_a_list_that_no_shape_decides_is_kept_and_must_be_as_long_as_the_model() -> None:
    config: dict[str, Any] = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96, "vocab_size": 320,
        "layer_types": ["sliding_attention", FULL, FULL, "sliding_attention"],
    }  # fmt: skip
    checkpoint = table(predicted(config))
    agreeing = infer(checkpoint, config)
    assert agreeing.verdict == "agrees" and agreeing.config == config
    (row,) = [row for row in agreeing.fields if row.name == "layer_types"]
    assert row.status == "unverifiable"
    for length in (3, 5):
        assert (
            infer(checkpoint, {**config, "layer_types": [FULL, *config["layer_types"]][:length]}).verdict
            == "differs"
        )


def test_a_default_list_of_another_length_is_written_out(tmp_path: Path) -> None:
    """Zamba2's class has 54 kinds, whatever the number of layers, and refuses a config that leaves them to it."""
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 6,
        "vocab_size": 96,
        "num_attention_heads": 4,
        "n_mamba_heads": 8,
    }
    shapes = reference_shapes("zamba2", {**sizes, "layers_block_type": ["linear_attention"] * 6})
    write_headers_only(tmp_path, shapes)
    found = infer(
        open_checkpoint(tmp_path), {"model_type": "zamba2", "architectures": ["Zamba2ForCausalLM"], **sizes}
    )
    assert len(found.config["layers_block_type"]) == 6
    rebuilt = reference_shapes(
        "zamba2", {k: v for k, v in found.config.items() if k in {*sizes, "layers_block_type"}}
    )
    assert rebuilt == shapes
