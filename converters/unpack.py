"""unpack: what `ternary --set pack=...` wrote, back to bf16, to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.convert.protocol import Recipe, Step
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.packed_words import WORD_BITS, unpack

from .compressed_tensors import PACKED, bits_of, packed_step
from .plain import plain_recipe
from .scaled import DESCRIPTION, dequantize_step, partner, quantization, small, unquantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.convert.protocol import Evidence

# Rows that are looked at in each of a few tensors to tell ternary codes from others: a tensor of true 4-bit
# codes shows one beyond +-1 among any hundred numbers.
_ROWS, _TENSORS = 16, 4


@dataclass(frozen=True, slots=True)
class Unpack:
    """Codes out of {-1, 0, +1} times scales is exact, so that this is the inverse of packing."""

    name: str = "unpack"

    @property
    def options(self) -> Mapping[str, str]:
        return {}

    def recognise(self, evidence: Evidence) -> str | None:
        words, bytes_ = _packed(evidence.checkpoint)
        if words and is_ternary(evidence):
            return f"{words[0]} and {len(words) - 1} more are packed, and hold the codes -1, 0 and +1 alone"
        if bytes_ and (evidence.checkpoint.root / DESCRIPTION).is_file():
            return f"{bytes_[0]} and {len(bytes_) - 1} more are int8 with scales, beside {DESCRIPTION}"
        return None

    def plan(self, evidence: Evidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        checkpoint, target = evidence.checkpoint, dtype or "BF16"
        words, bytes_ = _packed(checkpoint)
        made: dict[str, tuple[Step, ...]] = {}
        folded: dict[str, str] = {}
        bits = bits_of(quantization(evidence.config))
        for name in words:
            step, used = packed_step(checkpoint, name, bits, target, ternary=True)
            made[name] = (step,)
            folded |= dict.fromkeys(used, f"folded into {step.outputs[0].name}")
        for name in bytes_:
            scale = partner(checkpoint, name, f"{name}_scale")
            step = dequantize_step(checkpoint.tensors[name], name, scale, target, ternary=True)
            made[name] = (step,)
            folded |= dict.fromkeys([scale.name, *_offset(checkpoint, name)], f"folded into {name}")
        if not made:
            raise ConversionRefused(checkpoint.path, "has no packed weights", "use `plain` to copy it")
        plain = plain_recipe(evidence, dtype, made, folded)
        return Recipe(
            plain.options,
            plain.steps,
            plain.dropped,
            {**plain.config, **unquantized(evidence, target)},
            {DESCRIPTION: "it describes packed weights, and these are not packed any more"},
        )


def _packed(checkpoint: Checkpoint) -> tuple[list[str], list[str]]:
    """(names of packed words, names of int8 weights with scales of their own)."""
    tensors = checkpoint.tensors
    words = [n for n, t in tensors.items() if n.endswith(PACKED) and t.dtype in ("I32", "U32")]
    bytes_ = [n for n, t in tensors.items() if t.dtype == "I8" and f"{n}_scale" in tensors]
    return words, bytes_


def _offset(checkpoint: Checkpoint, weight: str) -> list[str]:
    """The name of the offset, if there is one. Raises ConversionRefused when it is not zero."""
    offset = checkpoint.tensors.get(f"{weight}_offset")
    if offset is None:
        return []
    with TensorReader(checkpoint) as reader:
        if np.any(reader.read(offset).astype(np.float32)):
            raise ConversionRefused(
                offset.name, "is not zero: these are no ternary weights", "no converter reads them yet"
            )
    return [offset.name]


def is_ternary(evidence: Evidence) -> bool:
    """Whether a sample of the packed words holds only -1, 0 and +1, all three of them, in 4-bit symmetric codes."""
    words, _ = _packed(evidence.checkpoint)
    bits = bits_of(quantization(evidence.config))
    if not words or bits is None or any(n.removesuffix(PACKED) + "zero_point" in words for n in words):
        return False
    seen: set[int] = set()
    with TensorReader(evidence.checkpoint) as reader:
        for name in words[:: max(1, len(words) // _TENSORS)]:
            seen |= _codes(evidence.checkpoint.tensors[name], reader, bits, evidence.checkpoint)
    return seen == {-1, 0, 1}


def _codes(tensor: Tensor, reader: TensorReader, bits: int, checkpoint: Checkpoint) -> set[int]:
    if len(tensor.shape) < 2:
        return set()
    rows = reader.read_rows(tensor, 0, min(_ROWS, tensor.shape[0]))
    words = rows.reshape(-1, tensor.shape[-1]).view(np.uint32)[:_ROWS]
    shape = checkpoint.tensors.get(tensor.name.removesuffix(PACKED) + "weight_shape")
    most = words.shape[1] * (WORD_BITS // bits)
    cols = min(most, small(checkpoint, shape)[-1]) if shape is not None else most
    return {int(code) for code in np.unique(unpack(words, bits, cols))}
