"""compressed-tensors' packed weights: integers in 32-bit words, beside their scales, shape and zero points.

weight_packed I32 [N, ceil(K / n)], n = 32 // bits; weight_scale [N, K/g]; weight_shape I64 [2]; perhaps
weight_zero_point, and weight_g_idx, which is not read (compressed-tensors 0.17, compressors/pack_quantized).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.convert.protocol import Companion
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.packed_words import WORD_BITS, unpack
from weightsmith.schemes.stated import compressed_bits, quantization

from .dequantizer import DAMAGED, StoredWeight
from .scaled_codes import Dequantize, read_integers, scale_block, scale_of

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.convert.protocol import SourceEvidence
    from weightsmith.schemes.stated import ScaleBlock

    from .scaled_codes import ZeroPoints

PACKED = "weight_packed"
_WORDS = ("I32", "U32")
# Rows that are sampled in each of a few tensors to tell ternary codes from others: a tensor of true 4-bit codes
# shows one beyond +-1 among any hundred numbers.
_ROWS, _TENSORS = 16, 4


def packed_names(checkpoint: Checkpoint) -> list[str]:
    """The tensors of packed words."""
    return [n for n, t in checkpoint.tensors.items() if n.endswith(PACKED) and t.dtype in _WORDS]


def holds_ternary_codes(evidence: SourceEvidence) -> bool:
    """Whether a sample of the packed words holds only -1, 0 and +1, and all three of them.

    This decides between the two converters of this layout: `unpack` for ternary codes, which come back to the
    bit, and `compressed-tensors-dequant` for all others.
    """
    names = packed_names(evidence.checkpoint)
    bits = compressed_bits(quantization(evidence.config))
    if not names or bits is None:
        return False
    seen: set[int] = set()
    with TensorReader(evidence.checkpoint) as reader:
        for name in names[:: max(1, len(names) // _TENSORS)]:
            seen |= _sampled_codes(evidence.checkpoint, name, reader, bits)
    return seen == {-1, 0, 1}


def packed_weight(
    checkpoint: Checkpoint, name: str, bits: int | None, dtype: str, ternary: bool = False
) -> StoredWeight:
    """The weight of a `weight_packed` tensor. Raises ConversionRefused.

    bits: of one code, as the config states them.
    dtype: of the plain weight.
    ternary: codes other than -1, 0, +1 are refused.
    """
    codes = checkpoint.tensors[name]
    module = name.removesuffix(PACKED)
    if codes.dtype not in _WORDS or len(codes.shape) < 2 or bits is None:
        raise ConversionRefused(
            name,
            f"is {codes.dtype} {list(codes.shape)}: no packed words of a known number of bits",
            "only integers packed in 32-bit words are read, with num_bits in config.json",
        )
    if f"{module}weight_g_idx" in checkpoint.tensors:
        raise ConversionRefused(
            f"{module}weight_g_idx",
            "permutes the channels (activation ordering)",
            "no converter undoes it yet",
        )
    scale = scale_of(checkpoint, name, f"{module}weight_scale")
    shape = _plain_shape(checkpoint, name, f"{module}weight_shape", bits)
    rows, cols = prod(shape[:-1]), shape[-1]
    block = scale_block(name, (rows, cols), scale, None)
    zeros, points = _zero_points(checkpoint, f"{module}weight_zero_point", bits, block)
    kernel = Dequantize(name, scale.name, None, bits, cols, block.cols, scale.dtype, dtype, zeros, ternary)
    companions = (Companion(scale, block.rows), *points)
    parts = (scale.name, f"{module}weight_shape", *(point.tensor.name for point in points))
    return StoredWeight(f"{module}weight", shape, dtype, codes, companions, kernel, parts)


def _zero_points(
    checkpoint: Checkpoint, name: str, bits: int, block: ScaleBlock
) -> tuple[ZeroPoints | None, tuple[Companion, ...]]:
    """Zero points are packed along the rows for groups and channels, and stored as they are otherwise."""
    points = checkpoint.tensors.get(name)
    if points is None:
        return None, ()
    if points.dtype in _WORDS and block.rows == 1 and len(points.shape) == 2:
        return "words", (Companion(points, WORD_BITS // bits),)
    if points.dtype == "I8":
        return "bytes", (Companion(points, block.rows),)
    raise ConversionRefused(name, f"is {points.dtype} {list(points.shape)}: no zero points", DAMAGED)


def _plain_shape(checkpoint: Checkpoint, packed: str, name: str, bits: int) -> tuple[int, ...]:
    """The weight's own shape, which the packed words must be able to hold."""
    if name not in checkpoint.tensors:
        raise ConversionRefused(packed, f"{name} is missing beside it", DAMAGED)
    shape = tuple(read_integers(checkpoint, checkpoint.tensors[name]))
    words = checkpoint.tensors[packed].shape
    per_word = WORD_BITS // bits
    if len(shape) != len(words) or shape[:-1] != words[:-1] or -(-shape[-1] // per_word) != words[-1]:
        raise ConversionRefused(
            name, f"says {list(shape)}, which {bits}-bit words of {list(words)} do not hold", DAMAGED
        )
    return shape


def _sampled_codes(checkpoint: Checkpoint, name: str, reader: TensorReader, bits: int) -> set[int]:
    """The codes in the first rows of a tensor."""
    tensor: Tensor = checkpoint.tensors[name]
    if len(tensor.shape) < 2:
        return set()
    rows = reader.read_rows(tensor, 0, min(_ROWS, tensor.shape[0]))
    words = rows.reshape(-1, tensor.shape[-1]).view(np.uint32)[:_ROWS]
    shape = checkpoint.tensors.get(name.removesuffix(PACKED) + "weight_shape")
    cols = words.shape[1] * (WORD_BITS // bits)
    if shape is not None:
        cols = min(cols, read_integers(checkpoint, shape)[-1])
    return {int(code) for code in np.unique(unpack(words, bits, cols))}
