"""What a GGUF file stands for: the names of its tensors in the model, the order of their rows, and the config.

Known are the architectures of `gguf_architectures`. A file that holds more than is known here keeps its own names, and
has no config.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from weightsmith.checkpoint.gguf_architectures import ARCHITECTURES, EXPERT
from weightsmith.checkpoint.gguf_frequencies import TENSOR as FREQUENCIES
from weightsmith.checkpoint.gguf_frequencies import scaling_of
from weightsmith.checkpoint.gguf_types import LESS_ONE, PREFIX
from weightsmith.checkpoint.layout import MOST_TENSORS_IN_FILE
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.table import Problem, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.checkpoint.gguf_architectures import Architecture
    from weightsmith.checkpoint.gguf_types import BlockType
    from weightsmith.json_value import Json

NOT_KNOWN = "gguf-not-known"
_LAYER = re.compile(r"blk\.([0-9]{1,5})\.(\w+)\.(weight|bias)")
_OUTSIDE = re.compile(r"(\w+)\.(weight|bias)")
_LARGEST_F32 = (2 - 2**-23) * 2.0**127
_TOKENS = ("bos", "eos", "padding")
# What the config would have to say, too, and does not.
_MORE = ("rope.scaling.type", "rope.scaling.factor")
_WINDOW, _EXPERT_COUNT = "attention.sliding_window", "expert_count"


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


def model_of(
    metadata: Mapping[str, Json], stored: Sequence[Stored], divisors: Sequence[float] = ()
) -> GgufModel:
    """What the file stands for. divisors: of the rotary frequencies, where it holds them. Never raises."""
    try:
        family = metadata.get("general.architecture")
        known = ARCHITECTURES.get(family) if isinstance(family, str) else None
        if known is None or not isinstance(family, str):
            told = quoted(family, 40) if isinstance(family, str) else "not told"
            raise _NotKnownError(f"its architecture is {told}")
        entries = _Entries(family, metadata)
        config = {**_config(known, entries, stored), **_divided(entries, divisors)}
        if divisors:
            stored = [one for one in stored if one.tensor.name != FREQUENCIES]
        heads = (_whole(config["num_attention_heads"]), _whole(config["num_key_value_heads"]))
        tensors = tuple(islice(_model_tensors(stored, known, heads), MOST_TENSORS_IN_FILE + 1))
        if len(tensors) > MOST_TENSORS_IN_FILE:
            raise _NotKnownError(f"its experts are more than {MOST_TENSORS_IN_FILE:,} tensors")
        return GgufModel(tensors, config)
    except _NotKnownError as error:
        text = f"what this GGUF file stands for is not known here: {error}"
        tensors = tuple(_marked(one, one.tensor.name, one.tensor) for one in stored)
        return GgufModel(tensors, None, (Problem(NOT_KNOWN, text, stops_loader=True),))


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of a file, those of its architecture by the names after it."""

    family: str
    metadata: Mapping[str, Json]

    def get(self, name: str, default: Json = None) -> Json:
        return self.metadata.get(f"{self.family}.{name}", default)


def _config(known: Architecture, entries: _Entries, stored: Sequence[Stored]) -> dict[str, Json]:
    shapes = {one.tensor.name: one.tensor.shape for one in stored}
    if "token_embd.weight" not in shapes:
        raise _NotKnownError("it has no token_embd.weight")
    sizes: dict[str, Json] = {key: _whole(entries.get(name)) for key, name in known.sizes.items()}
    heads, width = _whole(sizes["num_attention_heads"]), _whole(sizes["hidden_size"])
    head = _whole(entries.get("attention.key_length", width // heads))
    _refuse_more(known, entries)
    metadata = entries.metadata
    tokens = {
        f"{name.removesuffix('ding')}_token_id": metadata[f"tokenizer.ggml.{name}_token_id"]
        for name in _TOKENS
        if f"tokenizer.ggml.{name}_token_id" in metadata
    }
    return {
        "architectures": [known.loader],
        "model_type": known.model_type,
        **sizes,
        "head_dim": head,
        "vocab_size": shapes["token_embd.weight"][0],
        **{key: _short(entries.get(name)) for key, name in known.numbers.items()},
        "rope_theta": _short(entries.get("rope.freq_base", 10000.0)),
        **_rotated(known, entries, head),
        **_scaled(known, sizes["num_hidden_layers"], width // heads, head),
        **({"sliding_window": _whole(entries.get(_WINDOW))} if entries.get(_WINDOW) else {}),
        **known.settings,
        **{key: (name in shapes) is there for key, (name, there) in known.told.items()},
        "tie_word_embeddings": "output.weight" not in shapes,
        **_dtype(stored),
        **tokens,
    }


def _refuse_more(known: Architecture, entries: _Entries) -> None:
    """Raises _NotKnownError for settings that the config would have to hold, too."""
    more = [*_MORE, *(() if known.windowed else (_WINDOW,))]
    more += [] if _EXPERT_COUNT in known.sizes.values() else [_EXPERT_COUNT]
    for name in more:
        if entries.get(name) not in (None, "none", 0):
            raise _NotKnownError(f"{entries.family}.{name} is {quoted(entries.get(name), 40)}")


def _rotated(known: Architecture, entries: _Entries, head: int) -> dict[str, Json]:
    """How much of a head is rotated."""
    rotated = _whole(entries.get("rope.dimension_count", head))
    if known.partial is not None and rotated <= head:
        return {known.partial: rotated / head}
    if rotated != head:
        raise _NotKnownError("its heads are rotated in part")
    return {}


def _divided(entries: _Entries, divisors: Sequence[float]) -> dict[str, Json]:
    """The scaling of the rotation, which only its result tells."""
    if not divisors:
        return {}
    theta = _short(entries.get("rope.freq_base", 10000.0))
    scaling = scaling_of(divisors, theta) if theta > 1 else None
    if scaling is None:
        raise _NotKnownError(f"the divisors of its {FREQUENCIES} are of no scaling that is known")
    return {"rope_scaling": scaling} if scaling else {}


def _scaled(known: Architecture, layers: Json, width: int, head: int) -> dict[str, Json]:
    """By what queries are divided, squared."""
    if known.scaled is None:
        return {}
    return {"query_pre_attn_scalar": width if layers == known.scaled else head}


def _dtype(stored: Sequence[Stored]) -> dict[str, Json]:
    """That of the matrices, where they have one; what is packed has none yet."""
    found = {one.kind.name for one in stored if len(one.tensor.shape) > 1}
    name = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}.get(
        found.pop() if len(found) == 1 else ""
    )
    return {"dtype": name} if name else {}


def _model_tensors(stored: Sequence[Stored], known: Architecture, heads: tuple[int, int]) -> Iterator[Tensor]:
    for one in stored:
        yield from _of_the_model(one, known, heads)


def _of_the_model(one: Stored, known: Architecture, heads: tuple[int, int]) -> Iterator[Tensor]:
    """The tensor under the model's name and in its order; a stack of experts one by one. heads: of queries and keys."""
    name = one.tensor.name
    found, outside = _LAYER.fullmatch(name), _OUTSIDE.fullmatch(name)
    if found is not None and found[2] in known.layer:
        layer, part, last = found.groups()
        plain = f"model.layers.{int(layer)}.{known.layer[part]}.{last}"
    elif outside is not None and outside[1] in known.outside:
        part, last = outside.groups()
        plain = f"{known.outside[part]}.{last}"
    else:
        raise _NotKnownError(f"it holds {name[:80]}")
    if EXPERT in plain:
        yield from (
            _marked(one, plain.replace(EXPERT, str(n)), own) for n, own in enumerate(_stacked(one.tensor))
        )
    elif known.turned and part in ("attn_q", "attn_k") and last == "weight":
        yield _marked(one, plain, _turned(one.tensor, heads[part == "attn_k"]), always=True)
    elif known.norms_less_one and part.endswith("norm") and last == "weight":
        yield _less_one(one, plain)
    else:
        yield _marked(one, plain, _one_row(one.tensor) if part in known.one_row else one.tensor)


def _stacked(tensor: Tensor) -> Iterator[Tensor]:
    """The matrices of a tensor of all experts."""
    if len(tensor.shape) != 3:
        raise _NotKnownError(f"{tensor.name} of {list(tensor.shape)} is no stack of experts")
    step = tensor.shape[1] * tensor.shape[2]
    for number in range(tensor.shape[0]):
        yield replace(
            tensor, shape=tensor.shape[1:], strides=tensor.strides[1:], offset=tensor.offset + number * step
        )


def _one_row(tensor: Tensor) -> Tensor:
    if len(tensor.shape) != 1:
        return tensor
    return replace(tensor, shape=(1, *tensor.shape), strides=(tensor.shape[0], 1))


def _less_one(one: Stored, name: str) -> Tensor:
    if one.kind.count > 1:
        raise _NotKnownError(f"{one.tensor.name} is in blocks")
    return replace(one.tensor, name=f"{name}.{PREFIX}{one.kind.name}{LESS_ONE}")


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
