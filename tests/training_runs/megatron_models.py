"""The small models that Megatron's processes hold in tests: released weights, configs, and how each run was cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tests.training_runs import model

# Megatron fills the vocabulary up to a multiple of this for each rank.
FILLED = 208
MOE: dict[str, Any] = {
    **model.CONFIG,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_hidden_layers": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "router_aux_loss_coef": 0.001,
}


TIED: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "tie_word_embeddings": True,
}


# Attention through low ranks, a dense layer and one with experts, one of which all share, as DeepSeek V3 has them.
LATENT: dict[str, Any] = {
    **{name: model.CONFIG[name] for name in ("hidden_size", "intermediate_size", "vocab_size", "rope_theta")},
    **{
        name: model.CONFIG[name]
        for name in ("max_position_embeddings", "rms_norm_eps", "tie_word_embeddings")
    },
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "routed_scaling_factor": 1.0,
}


def latent_weights(seed: int = 11) -> dict[str, torch.Tensor]:
    """A small DeepSeek V3 under its released names."""
    c, generator = LATENT, torch.Generator().manual_seed(seed)
    hidden, heads, words = c["hidden_size"], c["num_attention_heads"], c["vocab_size"]
    query = heads * (c["qk_nope_head_dim"] + c["qk_rope_head_dim"])
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, hidden)}
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {
            f"{at}{norm}.weight": (hidden,) for norm in ("input_layernorm", "post_attention_layernorm")
        }
        shapes |= {
            f"{at}self_attn.q_a_proj.weight": (c["q_lora_rank"], hidden),
            f"{at}self_attn.q_a_layernorm.weight": (c["q_lora_rank"],),
            f"{at}self_attn.q_b_proj.weight": (query, c["q_lora_rank"]),
            f"{at}self_attn.kv_a_proj_with_mqa.weight": (c["kv_lora_rank"] + c["qk_rope_head_dim"], hidden),
            f"{at}self_attn.kv_a_layernorm.weight": (c["kv_lora_rank"],),
            f"{at}self_attn.kv_b_proj.weight": (
                heads * (c["qk_nope_head_dim"] + c["v_head_dim"]),
                c["kv_lora_rank"],
            ),
            f"{at}self_attn.o_proj.weight": (hidden, heads * c["v_head_dim"]),
        }
        places = {f"{at}mlp.": c["intermediate_size"]}
        if layer:
            shapes[f"{at}mlp.gate.weight"] = (c["n_routed_experts"], hidden)
            shapes[f"{at}mlp.gate.e_score_correction_bias"] = (c["n_routed_experts"],)
            names = [*(f"experts.{n}" for n in range(c["n_routed_experts"])), "shared_experts"]
            places = {f"{at}mlp.{name}.": c["moe_intermediate_size"] for name in names}
        for place, inner in places.items():
            shapes |= {f"{place}gate_proj.weight": (inner, hidden), f"{place}up_proj.weight": (inner, hidden)}
            shapes[f"{place}down_proj.weight"] = (hidden, inner)
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (words, hidden)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def moe_weights(seed: int = 9) -> dict[str, torch.Tensor]:
    """A small Qwen 3 with experts under its released names."""
    dense = model.weights(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    hidden, inner, width = MOE["hidden_size"], MOE["moe_intermediate_size"], MOE["head_dim"]
    found = {name: t for name, t in dense.items() if ".mlp." not in name and ".layers.2." not in name}
    for layer in range(MOE["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes = {f"{at}mlp.gate.weight": (MOE["num_experts"], hidden)}
        shapes |= {f"{at}self_attn.{part}_norm.weight": (width,) for part in "qk"}
        for expert in range(MOE["num_experts"]):
            one = f"{at}mlp.experts.{expert}."
            shapes |= {f"{one}gate_proj.weight": (inner, hidden), f"{one}up_proj.weight": (inner, hidden)}
            shapes[f"{one}down_proj.weight"] = (hidden, inner)
        found |= {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return found


@dataclass(frozen=True)
class Case:
    """How a run was cut. first: layers of the first stage, where not as the others. args: whether files state it."""

    name: str
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    expert_tensor: int = 1
    virtual: int | None = None
    first: int | None = None
    layers: int = 4
    moe: bool = False
    args: bool = True
    tied: bool = False
    latent: bool = False


CASES = (
    Case("dense", tensor=2, pipeline=2, virtual=2),
    Case("tied", tensor=2, pipeline=2, layers=3, first=2, tied=True),
    Case("uneven", tensor=2, pipeline=2, first=1, layers=3, args=False),
    Case("experts", pipeline=2, expert=2, moe=True, layers=2, args=False),
    Case("experts-whole", tensor=2, expert=2, moe=True, layers=2, args=False),
    Case("latent", tensor=2, moe=True, latent=True, layers=2, expert_tensor=2, args=False),
    Case("experts-cut", tensor=2, expert=2, expert_tensor=2, moe=True, layers=2, args=False),
)

# Those that are also written as Megatron's distributed checkpoints (torch_dist).
DISTRIBUTED = ("uneven", "experts")


def truth(case: Case) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(released weights, config) that the case's run must come to."""
    if case.latent:
        return latent_weights(), LATENT
    if case.moe:
        return moe_weights(), MOE
    config = {**model.CONFIG, "num_hidden_layers": case.layers}
    weights = model.weights()
    if case.tied:
        return tied(weights), {**config, **TIED}
    for name in [n for n in weights if ".layers.0." in n] if case.layers == 4 else []:
        weights[name.replace(".0.", ".3.")] = weights[name].flip(0)
    return weights, config


def tied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As Qwen 2 has it: biases of q, k and v, and no head of its own."""
    generator = torch.Generator().manual_seed(3)
    found = {name: tensor for name, tensor in weights.items() if name != "lm_head.weight"}
    for name in [name for name in found if name.endswith(tuple(f"{part}_proj.weight" for part in "qkv"))]:
        rows = found[name].shape[0]
        found[name.replace(".weight", ".bias")] = torch.randn(rows, generator=generator)
    return found
