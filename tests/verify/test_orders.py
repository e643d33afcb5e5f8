"""Weights in an order that their class does not expect: each order that is tried, and what known texts say of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.models.corpus import FACTS
from weightsmith.verify.inputs.kinds import CAUSAL
from weightsmith.verify.likelihood.judge import same
from weightsmith.verify.likelihood.ordering import AS_STORED, ordering_of
from weightsmith.verify.likelihood.orders import orders
from weightsmith.verify.likelihood.siblings import Lab
from weightsmith.verify.likelihood.texts import Text
from weightsmith.verify.likelihood.tokenized import Reading, tokenized
from weightsmith.verify.reference.loading import Whole, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

    from weightsmith.behaviour_finding import BehaviourFinding

pytestmark = pytest.mark.engine  # it imports torch and transformers

EMBEDDING, ROWS = "model.embed_tokens.weight", "the rows of each head of q_proj and k_proj"
# Sizes that differ from each other, so that no axis is taken for another.
LLAMA: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 4,
}
SMALL = LLAMA | {"num_hidden_layers": 2}
MOE = SMALL | {"num_local_experts": 3, "num_experts_per_tok": 2, "pad_token_id": None}
KINDS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "grouped heads": (
        "llama",
        LLAMA,
        {
            "the rows of lm_head.weight one place up",
            "mlp.gate_proj.weight and mlp.up_proj.weight of every layer exchanged",
            "self_attn.q_proj.weight of every layer transposed",
            "the rows of each head of q_proj and k_proj taken as pairs",
            "the heads of q_proj taken as if every n-th shared one of k_proj",
            "model.layers.2 and model.layers.3 exchanged",
            "the layers of model.layers taken as sorted by number, not as words",
            "the weights of all norms less by one",
        },
    ),
    "gate and up in one": (
        "phi3",
        SMALL | {"num_key_value_heads": 6, "pad_token_id": None},
        {
            "mlp.gate_up_proj.weight of every layer with its halves exchanged",
            "self_attn.qkv_proj.weight of every layer taken as heads of three parts",
        },
    ),
    "experts": (
        "mixtral",
        MOE,
        {"mlp.experts.gate_up_proj of every layer taken as halves of channels"},
    ),
    "experts as [in, out]": (
        "gpt_oss",
        MOE,
        {"mlp.experts.gate_up_proj of every layer taken as pairs of channels"},
    ),
    "columns": (
        "gpt2",
        {"vocab_size": 30, "n_embd": 24, "n_layer": 2, "n_head": 6},
        {"attn.c_attn.weight of every layer taken as three parts of heads"},
    ),
    "biases": (
        "gpt_neox",
        SMALL,
        {"attention.query_key_value.weight of every layer taken as heads of three parts"},
    ),
    "heads that are wider than the config's head_dim": (
        "deepseek_v2",
        SMALL
        | {
            "q_lora_rank": None,
            "kv_lora_rank": 8,
            "qk_nope_head_dim": 5,
            "qk_rope_head_dim": 4,
            "v_head_dim": 6,
        }
        | {
            "num_key_value_heads": 6,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
        },
        {"model.layers.0 and model.layers.1 exchanged"},
    ),
    "no heads": (
        "mamba",
        {"vocab_size": 30, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 4},
        {"backbone.layers.0 and backbone.layers.1 exchanged"},
    ),
    "two stacks": (
        "hrm_text",
        SMALL | {"num_layers_per_stack": 2},
        {"model.H_module.layers.0 and model.H_module.layers.1 exchanged"},
    ),
}


def chance(model_type: str, settings: dict[str, Any]) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings))
    with torch.no_grad():
        for one in model.parameters():
            one.copy_(torch.randn(one.shape))
    return model.eval()


def data(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_each_order_is_undone_by_one_that_is_tried(kind: str) -> None:
    """Whatever was stored in one of them is found: another of them leads back to the last number."""
    model_type, settings, expected = KINDS[kind]
    model = chance(model_type, settings)
    stored, every = data(model), list(orders(model))
    assert expected <= {one.says for one in every}
    for one in every:
        if "ternary" in one.says or "words" in one.says:  # one way only
            continue
        wrong = stored | one.weights(stored)
        assert {name: each.shape for name, each in wrong.items()} == {n: e.shape for n, e in stored.items()}
        assert any(_equal(stored, wrong | back.weights(wrong)) for back in every), one.says


def test_from_two_neighbours_every_exchange_of_either_is_reached() -> None:
    model = chance("llama", LLAMA)
    stored = data(model)
    near = next(one for one in orders(model) if one.says == "model.layers.2 and model.layers.3 exchanged")
    farther = {one.says: one for one in near.farther()}
    assert len(farther) == 20
    assert "model.layers.2 and model.layers.9 exchanged" in farther
    wrong = {
        name.replace("layers.3.", "layers.0.")
        if "layers.3." in name
        else name.replace("layers.0.", "layers.3."): one
        for name, one in stored.items()
    }
    order = farther["model.layers.0 and model.layers.3 exchanged"]
    assert not _equal(stored, wrong)
    assert _equal(stored, wrong | order.weights(wrong))


def test_layers_that_were_sorted_as_words_come_back() -> None:
    """As `sorted` has their names: 0, 1, 10, 11, 2."""
    model = chance("llama", LLAMA)
    stored, words = data(model), sorted(map(str, range(12)))
    wrong = {
        name.replace(f"layers.{words[place]}.", f"layers.{place}.")
        if (place := _place(name, words)) is not None
        else name: one
        for name, one in stored.items()
    }
    assert not _equal(stored, wrong)
    order = next(one for one in orders(model) if "words" in one.says)
    assert _equal(stored, wrong | order.weights(wrong))


def _place(name: str, words: list[str]) -> int | None:
    """Where the layer of a tensor is put by one who sorts them as words."""
    return next((n for n, word in enumerate(words) if f"layers.{word}." in name), None)


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    # What is added to a norm and taken away again is rounded on the way.
    return all(each.allclose(other[name], atol=1e-6) for name, each in one.items())


def test_reading_in_other_orders_leaves_the_weights_as_they_were() -> None:
    model = chance("llama", SMALL)
    lab = Lab(Whole(model), {"one": Reading((), tuple(range(3, 27)), 1)})
    before, own = data(model), lab.own_scores()
    assert own is not None
    read = [said for _, said in lab.reordered(lab.config(), own)]
    assert len(read) > 10
    assert any(not same(own, said, ["one"]) for said in read)
    assert all(one.equal(before[name]) for name, one in data(model).items())
    again = lab.own_scores()
    assert again is not None
    assert same(own, again, ["one"])


@pytest.fixture(scope="module")
def known(fused_folder: Path) -> Iterator[Lab]:
    """A trained model and what it was taught."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    texts = {str(n): Text(fact.answer, fact.prompt) for n, fact in enumerate(FACTS[::12])}
    yield Lab(
        load(str(fused_folder), str(fused_folder), "float32", None), tokenized(fused_folder, texts, CAUSAL)
    )
    torch.set_num_threads(before)


def said_of(lab: Lab) -> list[BehaviourFinding]:
    base = lab.scores([lab.config()])[0]
    assert base is not None
    return list(ordering_of(lab, lab.config(), base, 264).findings())


def test_a_sound_model_is_told_so(known: Lab) -> None:
    (told,) = said_of(known)
    assert (told.telling, told.value, told.best) == ("told", AS_STORED, AS_STORED)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (f"the rows of {EMBEDDING} one place down", f"the rows of {EMBEDDING} one place up"),
        (f"{ROWS} taken as pairs", f"{ROWS} taken as halves"),
        ("model.layers.0 and model.layers.1 exchanged", "model.layers.0 and model.layers.1 exchanged"),
    ],
)
def test_an_order_that_the_class_does_not_expect_is_named(known: Lab, stored: str, said: str) -> None:
    order = next(one for one in orders(known.loaded.model) if one.says == stored)
    (told,) = said_of(replace(known, changed=order.weights(data(known.loaded.model))))
    assert told.telling == "contradicted"
    assert told.best == said
    assert said in told.says
