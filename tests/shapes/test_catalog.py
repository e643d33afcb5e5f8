"""Pages and the installed transformers agree; a page that drifted is found out."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

from weightsmith.shapes.learn import learner
from weightsmith.shapes.learn.probe.builder import Lab, OutOfBudget
from weightsmith.shapes.learn.probe.drawing import draw
from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
from weightsmith.shapes.learn.probe.probe import BuildObservation, Probe
from weightsmith.shapes.learn.probe.starting_config import start
from weightsmith.shapes.learn.prove import contradictions
from weightsmith.shapes.learn.write.refusals import read_refusals
from weightsmith.shapes.page.page import (
    CATALOG,
    by_hand_types,
    catalog_types,
    learned_types,
    load_page,
    page_document,
    parse_page,
)
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.reference import meta_models

WHY = "a test asks"
# Another sample, or a longer one: WEIGHTSMITH_SAMPLE="seed/seconds".
SEED, _, SECONDS = os.environ.get("WEIGHTSMITH_SAMPLE", "1/45").partition("/")
CONFIGS = 4


def page_data(model_type: str) -> dict[str, Any]:
    return dict(page_document(model_type))


def checkable_types() -> list[str]:
    return [t for t in catalog_types() if page_data(t).get("source", "").startswith("transformers")]


def options(page: dict[str, Any], name: str, own: Any) -> list[Any]:
    """Values of a field to draw from: the page alone decides, not what the learner once tried."""
    if isinstance(own, bool):
        return [own, not own]
    if is_number(own):
        return [own, own + 1, own + 2] if own <= 16 else [own, 2 * own, 3 * own, own + own // 2]
    words = page.get("choices", {}).get(name)
    if isinstance(own, str) and words:
        return list(words)
    if isinstance(own, list) and words:
        return [own, *([word] * len(own) for word in words)]
    return [own]


def fresh_configs(page: dict[str, Any], seed: str) -> list[BuildObservation]:
    lab, base = start(page["model_type"], tuple(page["architectures"]))
    # A page from before undeclared settings were learned is held to the configs that leave them out, as most do.
    for name in [n for n in lab.hidden if n in lab.base and n not in page["fields"]]:
        del lab.base[name]
        left_out = lab.observe(Probe({}, WHY))
        if left_out is None:
            return []
        base = left_out
    found = FieldSurvey(lab, base, {})
    for name in page["fields"]:
        found.accepted[name] = options(page, name, base.values.get(name))
        if is_number(base.values.get(name)) and base.values[name] <= 16:
            found.counts.add(name)
    rng = random.Random(seed)
    drawn = [draw(found, rng, WHY) for _ in range(CONFIGS)]
    return [observation for observation in drawn if observation is not None]


@pytest.mark.parametrize("model_type", catalog_types())
def test_every_page_parses(model_type: str) -> None:
    page = load_page(model_type)
    assert page.model_type == model_type
    assert page.architectures and page.source and page.fields


def test_a_sample_of_pages_predicts_what_transformers_builds() -> None:
    """Bounded by time, not by number: as many types as fit, in an order that the seed decides."""
    meta_models.prepare()
    types = checkable_types()
    random.Random(SEED).shuffle(types)
    limit, compared = time.monotonic() + float(SECONDS), 0
    for model_type in types:
        if time.monotonic() > limit:
            break
        page = page_data(model_type)
        try:
            drawn = fresh_configs(page, f"{SEED}/{model_type}")
        except meta_models.Rejected as why:
            assert "requires the timm library" in str(why), (
                model_type
            )  # test_proof.py builds those beside timm
            continue
        for observation in drawn:
            wrong = contradictions(parse_page(page), observation)
            first = dict(list(wrong.items())[:3])
            assert not wrong, f"{model_type}: {len(wrong)}, such as {first}; `make catalog` learns it anew"
            compared += 1
    assert compared >= CONFIGS


def test_the_installed_transformers_is_the_one_that_the_pages_were_learned_from() -> None:
    versions = {page_data(t)["source"] for t in checkable_types()}
    assert versions == {meta_models.version()}, "run `make catalog`"


def test_a_page_that_drifted_is_contradicted() -> None:
    meta_models.prepare()
    page = page_data("llama")
    (observation, *_) = fresh_configs(page, "drift")
    assert not contradictions(parse_page(page), observation)
    key = "model.layers.{layer:num_hidden_layers}.mlp.up_proj.weight"
    wrong = {**page, "tensors": {**page["tensors"], key: "intermediate_size, 2 * hidden_size"}}
    assert key in contradictions(parse_page(wrong), observation)
    less = {**page, "tensors": {n: s for n, s in page["tensors"].items() if n != key}}
    assert contradictions(parse_page(less), observation)


def test_every_type_of_the_mappings_has_a_page_or_a_reason() -> None:
    meta_models.prepare()
    refusals, pages = read_refusals(CATALOG), set(catalog_types())
    for kind in ("causal", "image-text", "masked"):
        assert len(meta_models.mapping(kind)) > 20
        for model_type in meta_models.mapping(kind):
            assert (model_type in pages) != bool(refusals.get(model_type)), model_type


def test_a_page_is_learned_or_written_by_people_and_never_both() -> None:
    assert set(learned_types(CATALOG)).isdisjoint(by_hand_types(CATALOG))
    assert {*learned_types(CATALOG), *by_hand_types(CATALOG)} == set(catalog_types())
    for model_type in learned_types(CATALOG):
        assert not page_data(model_type).get("custom_code"), f"{model_type} belongs into by_hand/"


def test_learning_stops_at_its_limit() -> None:
    meta_models.prepare()
    with pytest.raises(OutOfBudget):
        learner.learn("llama", builds=3)


def test_of_a_model_with_too_many_modules_it_is_unknown_whether_it_builds() -> None:
    meta_models.prepare()
    config = meta_models.make_config("llama", {"num_hidden_layers": 3})
    with pytest.raises(meta_models.Unanswered):
        meta_models.build("LlamaForCausalLM", config, modules=20)
    assert meta_models.build("LlamaForCausalLM", config, modules=100).shapes


def test_a_config_without_elements_is_refused() -> None:
    meta_models.prepare()
    lab = Lab("llama", ("LlamaForCausalLM",))
    assert lab.observe(Probe({"vocab_size": 0, "num_hidden_layers": 1}, WHY)) is None
    assert lab.refusals
