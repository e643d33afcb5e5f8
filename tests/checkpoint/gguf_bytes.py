"""Writes small GGUF files by the layout of ggml's docs/gguf.md, and llama.cpp's names and order of rows."""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.gguf_types import BY_NAME, TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.arrays import Array

_NUMBER = {kind.name: number for number, kind in TYPES.items()}
HIDDEN, INNER, HEADS, KEYS, LAYERS, VOCAB = 64, 96, 4, 2, 2, 160
LLAMA: dict[str, object] = {
    "general.architecture": "llama", "llama.block_count": LAYERS, "llama.embedding_length": HIDDEN,
    "llama.feed_forward_length": INNER, "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": KEYS,
    "llama.context_length": 512, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 1e6,
    "llama.rope.dimension_count": HIDDEN // HEADS, "tokenizer.ggml.tokens": ["<s>", "a", "b"],
    "tokenizer.ggml.bos_token_id": 1,
}  # fmt: skip


def text(words: str) -> bytes:
    raw = words.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, value: object) -> bytes:
    if isinstance(value, bool):
        body = struct.pack("<I?", 7, value)
    elif isinstance(value, int):
        body = struct.pack("<II", 4, value)
    elif isinstance(value, float):
        body = struct.pack("<If", 6, value)
    elif isinstance(value, list):
        body = struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    else:
        body = struct.pack("<I", 8) + text(str(value))
    return text(key) + body


def gguf(
    tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]], entries: Mapping[str, object], version: int = 3
) -> bytes:
    """A whole file. tensors: name → type, shape with the innermost size last, and the bytes."""
    head = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(entries))]
    head += [entry(key, value) for key, value in entries.items()]
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        assert len(raw) == prod(shape) // BY_NAME[kind].count * BY_NAME[kind].nbytes
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        head.append(text(name) + sizes + struct.pack("<IQ", _NUMBER[kind], len(data)))
        data += raw + bytes(-len(raw) % 32)
    before = b"".join(head)
    return before + bytes(-len(before) % 32) + data


def turned(weight: Array, heads: int) -> Array:
    """llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute."""
    rows = len(weight)
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def llama(seed: int = 0) -> dict[str, Array]:
    """The weights of a small Llama in F32, by the model's names."""
    random = np.random.default_rng(seed)
    names = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        names |= {
            f"{at}self_attn.q_proj.weight": (HIDDEN, HIDDEN), f"{at}self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{at}self_attn.k_proj.weight": (HIDDEN * KEYS // HEADS, HIDDEN),
            f"{at}self_attn.v_proj.weight": (HIDDEN * KEYS // HEADS, HIDDEN),
            f"{at}mlp.gate_proj.weight": (INNER, HIDDEN), f"{at}mlp.up_proj.weight": (INNER, HIDDEN),
            f"{at}mlp.down_proj.weight": (HIDDEN, INNER), f"{at}input_layernorm.weight": (HIDDEN,),
            f"{at}post_attention_layernorm.weight": (HIDDEN,),
        }  # fmt: skip
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in names.items()}


_STORED = {
    "embed_tokens": "token_embd", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "norm": "output_norm",
}  # fmt: skip


def stored_name(name: str) -> str:
    module = name.removeprefix("model.").removesuffix(".weight")
    if not module.startswith("layers."):
        return f"{_STORED[module]}.weight"
    _, layer, inner = module.split(".", 2)
    return f"blk.{layer}.{_STORED[inner]}.weight"


def llama_file(
    weights: Mapping[str, Array], dtype: str = "f16", entries: Mapping[str, object] = LLAMA
) -> bytes:
    """The model in GGUF: matrices in `dtype`, f16 or f32, and norms in F32."""
    return gguf(llama_tensors(weights, dtype), entries)


def llama_tensors(
    weights: Mapping[str, Array], dtype: str = "f16"
) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """What `gguf` takes of the same model."""
    tensors = {}
    for name, weight in weights.items():
        heads = HEADS if "q_proj" in name else KEYS if "k_proj" in name else 0
        array = turned(weight, heads) if heads else weight
        kind = dtype if array.ndim > 1 else "f32"
        raw = array.astype(np.float16 if kind == "f16" else np.float32).tobytes()
        tensors[stored_name(name)] = (kind, array.shape, raw)
    return tensors
