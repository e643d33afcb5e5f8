"""A wrong reference differs in the one thing that it says, and the right one is there again afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from weightsmith.verify.inputs.kinds import Variation
from weightsmith.verify.reference.controls import NoReference, altered

pytestmark = pytest.mark.engine  # it imports torch and transformers, as the reference's child does

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
LATENT_ATTENTION = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "rope_theta": 10000.0,
}
ROTARY = {
    "llama": {},
    "llama with its own base": {"rope_theta": 500000.0},
    "llama with longrope": {"rope_parameters": {**LONGROPE, "original_max_position_embeddings": 64}},
    "llama with llama3 scaling": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    },
    "qwen3": {},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"] * 2},
    "gpt_neox": {"rotary_pct": 1.0},
    "deepseek_v3": LATENT_ATTENTION,
    "hrm_text": {"num_layers_per_stack": 2, "H_cycles": 1, "L_cycles": 1},
}


def _model(name: str, **fields: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(name.split()[0], **{**SIZES, **fields})
    return AutoModelForCausalLM.from_config(config).eval()


def _logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.arange(24)[None], use_cache=False).logits


def _variation(**changes: Any) -> Variation:
    return replace(Variation("control", "float32", "causal"), **changes)


@pytest.mark.parametrize("name", ROTARY)
def test_another_rope_base_is_another_model_for_as_long_as_it_lasts(name: str) -> None:
    model = _model(name, **ROTARY[name])
    right = _logits(model)
    with altered(model, _variation(rope_base=True)):
        wrong = _logits(model)
    assert not wrong.equal(right)
    assert _logits(model).equal(right)


@pytest.mark.parametrize("name", ["gpt2", "gptj", "bloom"])
def test_without_a_base_in_the_config_there_is_no_such_control(name: str) -> None:
    model = _model(name, n_embd=32, n_layer=2, n_head=4, rotary_dim=4)
    with pytest.raises(NoReference, match="no rotary module"), altered(model, _variation(rope_base=True)):
        pass


EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


@pytest.mark.parametrize("how", ["mixed-up", "fewer"])
@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "deepseek_v3"])
def test_wrong_experts_are_another_model_for_as_long_as_it_lasts(name: str, how: str) -> None:
    own = {**LATENT_ATTENTION, "first_k_dense_replace": 1} if name == "deepseek_v3" else EXPERTS
    model = _model(name, initializer_range=0.5, **own)
    right = _logits(model)
    with altered(model, _variation(experts=how)):
        wrong = _logits(model)
    assert (wrong - right).abs().max() > 1e-4
    assert _logits(model).equal(right)


@pytest.mark.parametrize("how", ["mixed-up", "fewer"])
def test_without_a_router_there_is_no_such_control(how: str) -> None:
    with pytest.raises(NoReference, match="no router"), altered(_model("llama"), _variation(experts=how)):
        pass


def test_an_encoder_loses_a_layer_as_a_decoder_does() -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(BertConfig(**{**SIZES, "num_key_value_heads": None})).eval()

    def states() -> Any:
        with torch.no_grad():
            return model(input_ids=torch.arange(24)[None]).last_hidden_state

    right = states()
    with altered(model, _variation(skip_layer=0.5)):
        assert (states() - right).abs().max() > 1e-4
    assert states().equal(right)


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "hrm_text", "gpt2"])
def test_a_skipped_layer_comes_back(name: str) -> None:
    sizes = {"n_embd": 32, "n_layer": 4, "n_head": 4} if name == "gpt2" else ROTARY[name]
    model = _model(name, **sizes)
    right, layers = _logits(model), model.config.num_hidden_layers
    with altered(model, _variation(skip_layer=0.5)):
        wrong = _logits(model)
    assert (wrong - right).abs().max() > 1e-4
    assert model.config.num_hidden_layers == layers
    assert _logits(model).equal(right)
