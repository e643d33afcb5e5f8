"""Every family of the catalog is recognised from its tensors alone; those that no tensor tells apart come as a set."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from tests.shapes.reference import tensor
from tests.shapes.test_packed import CONFIG as LLAMA
from tests.shapes.test_packed import in_memory, plain
from weightsmith.shapes import infer
from weightsmith.shapes.family import recognition
from weightsmith.shapes.family.candidates import candidates, grouped_by_equations, rank
from weightsmith.shapes.family.family_index import FamilyIndex
from weightsmith.shapes.family.index_file import load_index
from weightsmith.shapes.family.recognition import deciding
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.page import catalog_types, load_page
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.reference.starting_values import STARTS

if TYPE_CHECKING:
    from weightsmith.shapes.inference import Architecture
    from weightsmith.shapes.page.page import Page

TYPES = catalog_types()


@cache
def table(model_type: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a small config: class defaults, with few layers and experts."""
    page = load_page(model_type)
    patterns = next(iter(page.layouts.values()))
    counts = {field for pattern in patterns for slot in pattern.slots for field in slot.count.fields()}
    values: dict[str, Any] = Stated(None, page).completed() | STARTS.get(model_type, {}) | dict(page.base)
    values |= {name: min(values[name], 5) for name in counts if type(values.get(name)) is int}
    for name, field in page.fields.items():
        if field.expression is not None and name not in page.base and name not in STARTS.get(model_type, {}):
            values[name] = field.default(values)
    return predict(patterns, values)


def recognised_anew(model_type: str) -> Architecture:
    tensors = {name: tensor(name, shape) for name, shape in table(model_type).items() if -1 not in shape}
    return infer(in_memory(tensors), None).architecture


recognised = cache(recognised_anew)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_family_is_found_from_its_tensors_or_named_among_the_alternatives(model_type: str) -> None:
    found = recognised(model_type)
    assert model_type in (found.model_type, *found.alternatives)


def test_other_spellings_are_tried_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    index = load_index()
    names = {name.removeprefix("model."): name for name in table("qwen3") if name.startswith("model.")}
    checkpoint = in_memory({short: tensor(short, table("qwen3")[name]) for short, name in names.items()})
    for spellings in (index.spellings, index.spellings[::-1]):
        turned = replace(index, spellings=spellings)
        monkeypatch.setattr(recognition, "load_index", lambda turned=turned: turned)
        assert infer(checkpoint, None).architecture.model_type == "qwen3"


def test_the_answer_does_not_depend_on_the_order_of_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {t: recognised(t) for t in TYPES}
    index = load_index()
    last = len(index.families) - 1

    def turned(names: Any) -> dict[str, tuple[int, ...]]:
        return {name: tuple(last - f for f in families) for name, families in reversed(list(names.items()))}

    names = (turned(index.always), turned(index.maybe), turned(index.usual))
    other = FamilyIndex(index.families[::-1], *names, index.spellings[::-1])
    monkeypatch.setattr(recognition, "load_index", lambda: other)
    after = {t: recognised_anew(t) for t in TYPES}
    assert after == before


def test_types_of_the_same_equations_stand_together_under_the_best_known() -> None:
    groups = grouped_by_equations(TYPES, load_index())
    assert sorted(m for first, same in groups.items() for m in (first, *same)) == sorted(TYPES)
    assert any(groups.values())
    for first, same in groups.items():
        assert all(rank(first) < rank(member) for member in same)


@cache
def pairs() -> frozenset[frozenset[str]]:
    """Every two families of which each is found among what the other's tensors leave open."""
    open_to = {t: {recognised(t).model_type, *recognised(t).alternatives} - {t, None} for t in TYPES}
    return frozenset(frozenset((a, b)) for a in TYPES for b in open_to[a] if a in open_to.get(b or "", ()))


def test_families_that_no_tensor_tells_apart_are_found_and_what_would_decide_is_named() -> None:
    assert frozenset(("olmo2", "olmo3")) in pairs() and frozenset(("bart", "plbart")) in pairs()
    for pair in sorted(pairs(), key=sorted):
        first, second = sorted(pair)
        tensors = {name: tensor(name, shape) for name, shape in table(first).items() if -1 not in shape}
        (said,) = (p.message for p in infer(in_memory(tensors), None).problems if p.code == "family")
        assert first in said and second in said and "model_type" in said
    assert deciding(("olmo2", "olmo3")), "their windows and layer kinds"
    assert not deciding(("idefics3", "smolvlm")), "nothing but the name"


def test_one_who_claims_a_family_is_not_asked_to_decide() -> None:
    tensors = {name: tensor(name, shape) for name, shape in table("olmo2").items()}
    found = infer(in_memory(tensors), {"model_type": "olmo2"})
    assert not [p for p in found.problems if p.code == "family"]


def test_a_page_that_cannot_express_a_tensor_is_no_witness_against_the_claimed_family() -> None:
    shapes = dict(plain())
    q, k = (f"model.layers.0.self_attn.{part}_proj.weight" for part in "qk")
    shapes[q], shapes[k] = shapes[k], shapes[q]
    found = infer(in_memory({name: tensor(name, shape) for name, shape in shapes.items()}), LLAMA)
    assert found.verdict == "unknown"
    assert found.nearest[0].startswith(f"llama: 2 tensors have another shape; {q} is [128, 256]")


def test_families_that_are_further_than_the_claimed_one_are_not_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[str] = []
    best = recognition._best

    def noted(page: Page, *arguments: Any, **options: Any) -> Any:
        fitted.append(page.model_type)
        return best(page, *arguments, **options)

    monkeypatch.setattr(recognition, "_best", noted)
    odd = {**table("jamba"), "model.layers.0.odd.weight": (8, 8)}
    claim = {"model_type": "jamba", "architectures": ["JambaForCausalLM"]}
    infer(in_memory({name: tensor(name, shape) for name, shape in odd.items()}), claim)
    misses = {t: against[0] for t, against in candidates(map(name_key, odd), load_index()).items()}
    assert any(count > misses["jamba"] for count in misses.values()), "there are further ones"
    assert "jamba" in fitted and set(fitted) <= {t for t, count in misses.items() if count <= misses["jamba"]}


def test_layouts_that_differ_in_nothing_that_is_here_are_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose layers are all dense has no experts, which its page knows joined and one by one."""
    fitted: list[tuple[str, str]] = []
    fit = recognition.fit

    def noted(page: Page, layout: str, *arguments: Any, **options: Any) -> Any:
        fitted.append((page.model_type, layout))
        return fit(page, layout, *arguments, **options)

    monkeypatch.setattr(recognition, "fit", noted)
    config = {"model_type": "deepseek_v3", "num_hidden_layers": 2, "first_k_dense_replace": 2}
    page = load_page("deepseek_v3")
    assert list(page.layouts) == ["", "joined"]
    dense = predict(page.layouts[""], Stated(config, page).completed())
    found = infer(in_memory({name: tensor(name, shape) for name, shape in dense.items()}), config)
    assert found.verdict == "agrees" and ("deepseek_v3", "") in fitted
    assert not [layout for _, layout in fitted if layout]
