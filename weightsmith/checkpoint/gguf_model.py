"""What a GGUF file stands for: the names of its tensors in the model, the order of their rows, and the config.

Known are the architectures whose every tensor is one of the model's, perhaps with its rows in another order
(llama.cpp, convert_hf_to_gguf.py and gguf-py/gguf/tensor_mapping.py; back again: transformers,
modeling_gguf_pytorch_utils.py). A file that holds more than is known here keeps its own names, and has no config.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.gguf_types import PREFIX
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.table import Problem, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.gguf_types import BlockType
    from weightsmith.json_value import Json

NOT_KNOWN = "gguf-not-known"
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = re.compile(r"blk\.([0-9]{1,5})\.(\w+)\.(weight|bias)")
_IN_LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_SIZES = {
    "hidden_size": "embedding_length", "intermediate_size": "feed_forward_length", "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
}  # fmt: skip
_LARGEST_F32 = (2 - 2**-23) * 2.0**127
_TOKENS = ("bos", "eos", "padding")
# What the config would have to say, too, and does not.
_MORE = ("rope.scaling.type", "attention.sliding_window", "expert_count", "rope.scaling.factor")


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as it is stored: in blocks as bytes, under its own name."""

    tensor: Tensor
    kind: BlockType


@dataclass(frozen=True, slots=True)
class GgufModel:
    """The tensors under the model's names, and its config; None where some of it is not known."""

    tensors: tuple[Tensor, ...]
    config: dict[str, Json] | None
    problems: tuple[Problem, ...] = ()


class _NotKnownError(Exception):
    """Something of the file has no place in the model as it is known here."""


def model_of(metadata: Mapping[str, Json], stored: Sequence[Stored]) -> GgufModel:
    """What the file stands for. Never raises."""
    try:
        config = _config(metadata, stored)
        heads = (_whole(config["num_attention_heads"]), _whole(config["num_key_value_heads"]))
        turned = heads if config["model_type"] == "llama" else None
        return GgufModel(tuple(_of_the_model(one, turned) for one in stored), config)
    except _NotKnownError as error:
        text = f"what this GGUF file stands for is not known here: {error}"
        tensors = tuple(_marked(one, one.tensor.name, one.tensor) for one in stored)
        return GgufModel(tensors, None, (Problem(NOT_KNOWN, text, stops_loader=True),))


def _config(metadata: Mapping[str, Json], stored: Sequence[Stored]) -> dict[str, Json]:
    family = metadata.get("general.architecture")
    if not isinstance(family, str) or family not in _CLASSES:
        told = quoted(family, 40) if isinstance(family, str) else "not told"
        raise _NotKnownError(f"its architecture is {told}")
    shapes = {one.tensor.name: one.tensor.shape for one in stored}
    if "token_embd.weight" not in shapes:
        raise _NotKnownError("it has no token_embd.weight")
    sizes: dict[str, Json] = {key: _whole(metadata.get(f"{family}.{name}")) for key, name in _SIZES.items()}
    heads, width = _whole(sizes["num_attention_heads"]), _whole(sizes["hidden_size"])
    head = metadata.get(f"{family}.attention.key_length", width // heads)
    for name in _MORE:
        if metadata.get(f"{family}.{name}") not in (None, "none", 0):
            raise _NotKnownError(f"{family}.{name} is {quoted(metadata[f'{family}.{name}'], 40)}")
    if metadata.get(f"{family}.rope.dimension_count", head) != head:
        raise _NotKnownError("its heads are rotated in part")
    base = metadata.get(f"{family}.rope.freq_base", 10000.0)
    tokens = {
        f"{name.removesuffix('ding')}_token_id": metadata[f"tokenizer.ggml.{name}_token_id"]
        for name in _TOKENS
        if f"tokenizer.ggml.{name}_token_id" in metadata
    }
    return {
        "architectures": [_CLASSES[family]],
        "model_type": family,
        **sizes,
        "head_dim": _whole(head),
        "vocab_size": shapes["token_embd.weight"][0],
        "rms_norm_eps": _short(metadata.get(f"{family}.attention.layer_norm_rms_epsilon")),
        "rope_theta": _short(base),
        "tie_word_embeddings": "output.weight" not in shapes,
        **_dtype(stored),
        **tokens,
    }


def _dtype(stored: Sequence[Stored]) -> dict[str, Json]:
    """That of the matrices, where they have one; what is packed has none yet."""
    found = {one.kind.name for one in stored if len(one.tensor.shape) > 1}
    name = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}.get(
        found.pop() if len(found) == 1 else ""
    )
    return {"dtype": name} if name else {}


def _of_the_model(one: Stored, heads: tuple[int, int] | None) -> Tensor:
    """The tensor under the model's name and in its order. heads: of queries and keys, where their rows are turned."""
    name = one.tensor.name
    found = _LAYER.fullmatch(name)
    outside = _OUTSIDE.get(name.removesuffix(".weight"))
    if found is not None and found[2] in _IN_LAYER:
        layer, part, last = found.groups()
        plain = f"model.layers.{int(layer)}.{_IN_LAYER[part]}.{last}"
        if heads is not None and part in ("attn_q", "attn_k"):
            return _marked(one, plain, _turned(one.tensor, heads[part == "attn_k"]), always=True)
    elif outside is not None and name.endswith(".weight"):
        plain = f"{outside}.weight"
    else:
        raise _NotKnownError(f"it holds {name[:80]}")
    return _marked(one, plain, one.tensor)


def _marked(one: Stored, name: str, tensor: Tensor, *, always: bool = False) -> Tensor:
    """The tensor under `name`; where it is stored in blocks, or always, with what they are called below it."""
    marked = always or one.kind.count > 1
    return replace(tensor, name=f"{name}.{PREFIX}{one.kind.name}" if marked else name)


def _turned(tensor: Tensor, heads: int) -> Tensor:
    """Rows of each head in the model's order: llama.cpp puts those that are rotated together side by side."""
    if len(tensor.shape) != 2 or tensor.shape[0] % (2 * heads):
        raise _NotKnownError(f"{tensor.name} of {list(tensor.shape)} is not in {heads} heads")
    rows, width = tensor.shape
    half = rows // heads // 2
    shape, strides = (heads, 2, half, width), (2 * half * width, width, 2 * width, 1)
    return replace(tensor, shape=shape, strides=strides)


def _whole(value: Json) -> int:
    if type(value) is not int or value <= 0:
        raise _NotKnownError("a size of it is missing, or differs from layer to layer")
    return value


def _short(value: Json) -> float:
    """A float32 as the shortest number that it stands for."""
    if not isinstance(value, float) or not abs(value) <= _LARGEST_F32:  # NaN is not below it, either
        raise _NotKnownError("a number of it is missing or beyond float32")
    packed = struct.pack("<f", value)
    shorter = (float(f"{value:.{digits}g}") for digits in range(1, 10))
    return next(
        (short for short in shorter if abs(short) <= _LARGEST_F32 and struct.pack("<f", short) == packed),
        value,
    )
