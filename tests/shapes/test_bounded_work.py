"""Work follows from the tensors that are there: what a name or a config merely says costs nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.structures import small_model
from tests.shapes.predicted import table
from weightsmith.shapes import infer
from weightsmith.shapes.family import recognition
from weightsmith.shapes.family.inner_types import page_with
from weightsmith.shapes.given.roles import MOST_INDICES
from weightsmith.shapes.page.condition import evaluate_default, parse_condition
from weightsmith.shapes.page.condition_uses import readings
from weightsmith.shapes.page.value import LONGEST_LIST, freeze
from weightsmith.shapes.solve import check
from weightsmith.shapes.solve.budget import BUDGET
from weightsmith.shapes.solve.field_bounds import divisors_of
from weightsmith.shapes.solve.layer_lists import Lists
from weightsmith.shapes.solve.propagation import _integer_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.shapes import Inference
    from weightsmith.shapes.family.inner_types import InnerTypes
    from weightsmith.shapes.given.roles import Role
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value

PRIME = 8_796_093_022_151
# Seconds of CPU: twice what is promised, for machines that do other things as well.
MOST = 4.0


def inferred(shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, object] | None) -> Inference:
    start = time.process_time()
    found = infer(table(shapes), config)  # type: ignore[arg-type]
    assert time.process_time() - start < MOST
    return found


@pytest.mark.parametrize("index", [1000, 4_000_000, 10**30])
@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "zamba2"])
def test_one_index_far_out_is_no_model_of_as_many_layers(model_type: str, index: int) -> None:
    _, config, shapes = small_model(model_type)
    name = next(n for n in reversed(shapes) if ".0." in n)
    far = name.replace(".0.", f".{index}.", 1)
    for stated in (config, None):
        found = inferred({**shapes, far: shapes[name]}, stated)
        told = found.architecture
        assert index < MOST_INDICES or told.model_type is None or far in told.unmatched_tensors


@pytest.mark.parametrize("claimed", ["zamba", "zamba2", "nemotron_h", None])
@pytest.mark.parametrize(
    "shapes",
    [
        {"model.embed_tokens.weight": (96, 32)},
        {"model.embed_tokens.weight": (96, 32), "lm_head.weight": (96, 32)},
        {"model.embed_tokens.weight": (96, 32), "model.norm.weight": (32,)},
    ],
)
def test_layers_of_which_nothing_is_there_are_not_searched_for_long(
    claimed: str | None, shapes: dict[str, tuple[int, ...]]
) -> None:
    inferred(shapes, None if claimed is None else {"model_type": claimed})


def test_lists_say_nothing_of_layers_that_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    read = Lists.places_read
    monkeypatch.setattr(Lists, "places_read", lambda *told: (asked.append(told), read(*told))[1])
    inferred({"model.embeddings.weight": (96, 32)}, {"model_type": "nemotron_h"})
    assert len(asked) < 100  # 20,064 before


def _without(model_type: str, name: str) -> tuple[dict[str, object], dict[str, tuple[int, ...]]]:
    """A small model that has lost a tensor."""
    _, config, shapes = small_model(model_type)
    del shapes[name]
    return dict(config), shapes


def test_parts_of_other_types_are_tried_a_few_times_on_one_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def noted(model_type: str, inner: InnerTypes) -> Page:
        if inner:
            tried.append(model_type)
        return page_with(model_type, inner)

    _, shapes = _without("qwen3_vl", "model.visual.deepstack_merger_list.2.linear_fc2.bias")
    monkeypatch.setattr(recognition, "page_with", noted)
    inferred(shapes, None)
    assert 0 < len(tried) <= recognition.MAX_RECOMPOSED


def test_what_refuted_one_config_is_asked_first_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    config, shapes = _without("gemma4", list(small_model("gemma4")[2])[-1])
    compared, take = 0, check._Comparison.take

    def counted(self: check._Comparison, role: Role) -> None:
        nonlocal compared
        compared += 1
        take(self, role)

    monkeypatch.setattr(check._Comparison, "take", counted)
    inferred(shapes, config)
    assert compared < 100 * len(shapes)  # 180 times as many before


def test_experts_times_layers_of_one_name_are_not_walked() -> None:
    _, config, shapes = small_model("mixtral")
    name = next(n for n in shapes if "experts" in n)
    far = "model.layers.1000.block_sparse_moe.experts.1000.w1.weight"
    for stated in (config, None):
        inferred({**shapes, far: shapes[name][-2:]}, stated)


@pytest.mark.parametrize("model_type", ["deepseek_v4", "minimax_m3_vl_text", "llama", "zamba2", "mbart"])
def test_a_count_that_a_config_states_makes_no_list(model_type: str) -> None:
    page, config, shapes = small_model(model_type)
    for count in (n for n in page.fields if n.endswith("layers")):
        inferred(shapes, {**config, count: 10**9})


@pytest.mark.parametrize("count", [10**6, 10**12, 10**120])
def test_experts_that_a_config_states_are_not_spelled_out(count: int) -> None:
    _, config, shapes = small_model("deepseek_v3")
    inferred(shapes, {**config, "n_routed_experts": count})


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "mixtral"])
def test_primes_times_nothing_are_not_taken_apart(model_type: str) -> None:
    _, config, shapes = small_model(model_type)
    odd = {name: (PRIME, 0) if len(shape) > 1 else (PRIME,) for name, shape in shapes.items()}
    for stated in (config, None):
        inferred(odd, stated)


@pytest.mark.parametrize(
    "shapes",
    [{"lm_head.weight": (96, 32), "model.embed_tokens.weight": (96, 32)}, {"mlp.up_proj.weight": (64, 32)}],
    ids=["head and embedding", "one linear"],
)
def test_a_sound_table_of_few_tensors_is_told_soon(shapes: Mapping[str, tuple[int, ...]]) -> None:
    inferred(shapes, None)


def test_divisors_are_those_of_numbers_that_sizes_are() -> None:
    assert divisors_of(0xFFFF_FFFB) == (1, 0xFFFF_FFFB), "the largest prime below 2^32"
    assert divisors_of(65_521**2) == (1, 65_521, 65_521**2)
    assert divisors_of(-12) == (1, 2, 3, 4, 6, 12)
    assert BUDGET.factored == 1 << 32


@pytest.mark.parametrize(
    ("value", "degree", "root"), [(49, 2, 7), (48, 2, None), (10**400, 4, 10**100), (1, 3, 1)]
)
def test_roots_are_exact_for_numbers_of_any_length(value: int, degree: int, root: int | None) -> None:
    assert _integer_root(value, degree) == root


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[kind for layer in range(layers)]", {"layers": 10**9, "kind": "a"}),
        ("[kind] * layers", {"layers": 10**9, "kind": "a"}),
        ("word * layers", {"word": "x", "layers": 10**9}),
        ("word % layers", {"word": "%999999999d", "layers": 5}),
        ("int(share * layers)", {"share": float("inf"), "layers": 5}),
        ("share * layers", {"share": 0.5, "layers": 10**400}),
    ],
)
def test_an_expression_makes_nothing_endless_of_a_config(text: str, values: Mapping[str, Value]) -> None:
    assert evaluate_default(text, values) is None
    assert parse_condition(f"({text}) == 1").truth(values) is None


def test_a_list_of_all_layers_is_made_up_to_its_bound() -> None:
    made = evaluate_default("[1 for layer in range(layers)]", {"layers": LONGEST_LIST})
    assert made == (1,) * LONGEST_LIST


def test_every_value_of_a_config_can_be_kept_in_a_set() -> None:
    value = freeze({"a": [{"b": [1, {"c": None}]}], "d": {}})
    assert len({value, freeze({"d": {}, "a": [{"b": [1, {"c": None}]}]})}) == 1


def test_a_field_that_is_only_tested_for_null_has_few_values_to_try() -> None:
    """Gemma 4 asks `num_global_key_value_heads is not None`: 65 numbers, tried for each of 60 layers, took a minute."""
    tested = readings([parse_condition("heads is not None and layer < 60"), parse_condition("heads")])
    assert tested["heads"].only_tested
    for text in ("heads > 4", "heads == layer", "heads + 1 == layer", "heads == 8", "kinds[heads] == 'full'"):
        assert not readings([parse_condition(text)])["heads"].only_tested, text
