"""compressed-tensors: integers in 32-bit words, pairs of FP4 in bytes, or codes of 8 bits as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.packed_module import PER_ROW, PackedWeight, group_of_scale

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule


def packed_words_or_fp4(module: StoredModule) -> PackedWeight | None:
    """weight_packed I32 [N, K*bits/32] or U8 [N, K/2] (FP4), weight_scale [N, K/g]."""
    packed, scale = module.matrix("weight_packed"), module.parts.get("weight_scale")
    if packed is None or scale is None or not scale.elements:
        return None
    rows, columns = packed.shape[-2:]
    groups = scale.shape[-1] if len(scale.shape) > 1 else 1
    if packed.dtype == "U8":
        inputs = 2 * columns
        return PackedWeight("compressed-tensors-nvfp4", (rows, inputs), 4, inputs // groups)
    bits = next((bits for bits in (4, 8, 2) if columns * 32 // bits in module.known_widths), 4)
    inputs = columns * 32 // bits
    group = PER_ROW if groups == 1 else inputs // groups
    return PackedWeight("compressed-tensors-packed", (rows, inputs), bits, group)


def codes_of_eight_bits(module: StoredModule) -> PackedWeight | None:
    """weight I8 or F8 [N, K], weight_scale [N, 1] or one number."""
    weight, scale = module.matrix("weight"), module.parts.get("weight_scale")
    if weight is None or scale is None or not scale.elements:
        return None
    group = group_of_scale(weight, scale)
    if weight.dtype == "I8":
        return PackedWeight("compressed-tensors-int8", weight.shape, 8, group)
    if weight.dtype.startswith("F8"):
        return PackedWeight("compressed-tensors-fp8", weight.shape, 8, group)
    return None
