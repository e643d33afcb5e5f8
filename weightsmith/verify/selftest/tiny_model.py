"""A tiny HRM-Text made from a seed, and what it must generate: its forward pass written out in numpy.

It stands in for a file in the package: 600 kB that a dozen lines make. Its weights are large enough for the two
masks to give clearly different answers, which weights as small as an untrained model's do not (field-notes 10).
The forward pass is here because Ascend images have a transformers without HRM-Text, and so no other reference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.process.durable import create_file
from weightsmith.verify.inputs.kinds import Mask  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from weightsmith.json_value import Json

    Array = NDArray[np.float64]

# Two heads of the published model's size: attention kernels are chosen by head_dim.
HEADS, HEAD_DIM, HIDDEN, INTERMEDIATE, VOCABULARY = 2, 128, 128, 128, 96
HIGH_CYCLES, LOW_CYCLES, LAYERS = 2, 3, 1
THETA, EPSILON, EMBEDDING_SCALE = 10000.0, 1e-6, 50.0
_SEED = 2
# Gain on the usual 1/√fan-in of the attention's query and key: sharp attention tells masks apart, and makes bfloat16
# noise grow. Of 1.5, 2, 3 and 4 with three seeds each, this pair had the widest gap between the two (14-fold).
_SHARPNESS = 2.0


@dataclass(frozen=True, slots=True)
class TinyModel:
    """weights: on-disk name (fused layout) → values, already rounded to bfloat16."""

    weights: Mapping[str, Array]


def make() -> TinyModel:
    """The same numbers on every machine: numpy promises PCG64's stream."""
    import ml_dtypes
    import numpy as np

    random = np.random.Generator(np.random.PCG64(_SEED))

    def values(rows: int, columns: int, gain: float = 1.0) -> Array:
        drawn = random.standard_normal((rows, columns)) * gain / np.sqrt(columns)
        rounded: Array = drawn.astype(ml_dtypes.bfloat16).astype(np.float64)
        return rounded

    width = HEADS * HEAD_DIM
    weights = {
        "model.embed_tokens.weight": values(VOCABULARY, HIDDEN, 1 / EMBEDDING_SCALE * np.sqrt(HIDDEN)),
        "model.z_L_init": values(1, HIDDEN)[0],
        "lm_head.weight": values(VOCABULARY, HIDDEN, 2.0),
    }
    for stack in ("L", "H"):
        for layer in range(LAYERS):
            home = f"model.{stack}_module.layers.{layer}"
            gains = (1.0, _SHARPNESS, _SHARPNESS, 1.0)
            parts = [values(width, HIDDEN, gain) for gain in gains]
            weights[f"{home}.attn.gqkv_proj.weight"] = np.concatenate(parts)
            weights[f"{home}.attn.o_proj.weight"] = values(HIDDEN, width)
            weights[f"{home}.mlp.gate_up_proj.weight"] = values(2 * INTERMEDIATE, HIDDEN)
            weights[f"{home}.mlp.down_proj.weight"] = values(HIDDEN, INTERMEDIATE)
    return TinyModel(weights)


def save(model: TinyModel, folder: Path) -> None:
    """A checkpoint that engines load: bfloat16 weights and config.json; prompts are token ids, so no tokenizer."""
    import ml_dtypes
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: values.astype(ml_dtypes.bfloat16) for name, values in model.weights.items()}
    create_file(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    create_file(folder / "config.json", json.dumps(_config(), indent=1).encode())


def _config() -> dict[str, Json]:
    return {
        "architectures": ["HrmTextForCausalLM"],
        "model_type": "hrm_text",
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "head_dim": HEAD_DIM,
        "num_hidden_layers": LAYERS * HIGH_CYCLES * (LOW_CYCLES + 1),
        "num_layers_per_stack": LAYERS,
        "H_cycles": HIGH_CYCLES,
        "L_cycles": LOW_CYCLES,
        "max_position_embeddings": 512,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "embedding_scale": EMBEDDING_SCALE,
        "initializer_range": 1 / EMBEDDING_SCALE,
        "hidden_act": "silu",
        "prefix_lm": True,
        "tie_word_embeddings": False,
    }


def log_probabilities(model: TinyModel, prompt: Sequence[int], tokens: Sequence[int], mask: Mask) -> Array:
    """[len(tokens), vocabulary]: what follows prompt + tokens[:t], the prompt seen in both directions or causally."""
    import numpy as np

    w = model.weights
    ids = [*prompt, *tokens[:-1]]
    hidden = np.tri(len(ids), dtype=bool) ^ True
    if mask == "prefix":
        hidden[: len(prompt), : len(prompt)] = False
    high = w["model.embed_tokens.weight"][ids] * EMBEDDING_SCALE
    low = np.broadcast_to(w["model.z_L_init"], high.shape)
    for _ in range(HIGH_CYCLES):
        for _ in range(LOW_CYCLES):
            low = _stack(w, "L", low + high, hidden)
        high = _stack(w, "H", high + low, hidden)
    logits = high[len(prompt) - 1 :] @ w["lm_head.weight"].T
    logits -= logits.max(-1, keepdims=True)
    result: Array = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return result


def _stack(w: Mapping[str, Array], stack: str, x: Array, hidden: NDArray[np.bool_]) -> Array:
    import numpy as np

    for layer in range(LAYERS):
        home = f"model.{stack}_module.layers.{layer}"
        projected = _norm(x) @ w[f"{home}.attn.gqkv_proj.weight"].T
        gate, query, key, value = np.split(projected, 4, axis=-1)
        attended = _attention(_rotated(query), _rotated(key), _heads(value), hidden)
        x = x + (attended / (1 + np.exp(-gate))) @ w[f"{home}.attn.o_proj.weight"].T
        wide, up = np.split(_norm(x) @ w[f"{home}.mlp.gate_up_proj.weight"].T, 2, axis=-1)
        x = x + (wide / (1 + np.exp(-wide)) * up) @ w[f"{home}.mlp.down_proj.weight"].T
    return _norm(x)


def _norm(x: Array) -> Array:
    import numpy as np

    result: Array = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
    return result


def _heads(x: Array) -> Array:
    """[tokens, heads·head_dim] → [heads, tokens, head_dim]."""
    return x.reshape(len(x), HEADS, HEAD_DIM).transpose(1, 0, 2)


def _rotated(x: Array) -> Array:
    """RoPE in the half-split form: dimension i turns with dimension i + head_dim/2."""
    import numpy as np

    half = HEAD_DIM // 2
    angle = np.arange(len(x))[:, None] * THETA ** (-np.arange(half) / half)
    heads = _heads(x)
    first, second = heads[..., :half], heads[..., half:]
    turned = (first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle))
    result: Array = np.concatenate(turned, axis=-1)
    return result


def _attention(query: Array, key: Array, value: Array, hidden: NDArray[np.bool_]) -> Array:
    import numpy as np

    scores = query @ key.transpose(0, 2, 1) / np.sqrt(HEAD_DIM)
    scores = np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    out = (weights / weights.sum(-1, keepdims=True)) @ value
    joined: Array = out.transpose(1, 0, 2).reshape(query.shape[1], HEADS * HEAD_DIM)
    return joined
