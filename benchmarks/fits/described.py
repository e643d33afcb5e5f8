"""Folders that say of themselves that ModelSlim quantized them: a config and a description, no weights.

vllm-ascend looks a scheme up when it builds the layers, so that is what `ask_ascend` does with these.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.machine.engines import engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RELEASES = ("0.18.0", "0.23.0")
# Wide enough for every group size and every block of a scheme.
_CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "moe_intermediate_size": 512,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
_LAYER = "model.layers.0."


def names() -> list[str]:
    """`word.linear` and `word.moe`, for every word that some release has for either."""
    words = {
        scheme.partition(".")[0]
        for release in _RELEASES
        for scheme in engine(f"vllm-ascend=={release}").schemes
        if scheme.endswith((".linear", ".moe"))
    }
    return sorted(f"{word}.{kind}" for word in words for kind in ("linear", "moe"))


def make(name: str, folder: Path) -> Path:
    """The folder of that name below `folder`: that scheme for attention or for the experts, and floats elsewhere."""
    word, kind = name.split(".")
    own = folder / name
    own.mkdir(parents=True)
    described = {
        weight: word if (".experts." in weight) is (kind == "moe") and "proj" in weight else "FLOAT"
        for weight in _weights()
    }
    own.joinpath("config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")
    about = {"model_quant_type": word, "group_size": 128, **described}
    own.joinpath("quant_model_description.json").write_text(json.dumps(about), encoding="utf-8")
    own.joinpath("ask.json").write_text(json.dumps({"layers": True}), encoding="utf-8")
    return own


def _weights() -> Iterator[str]:
    yield from ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    yield from (f"{_LAYER}{norm}_layernorm.weight" for norm in ("input", "post_attention"))
    yield from (f"{_LAYER}self_attn.{one}_proj.weight" for one in "qkvo")
    yield from (f"{_LAYER}self_attn.{one}_norm.weight" for one in "qk")
    yield f"{_LAYER}mlp.gate.weight"
    for expert in range(4):
        yield from (f"{_LAYER}mlp.experts.{expert}.{one}_proj.weight" for one in ("gate", "up", "down"))
