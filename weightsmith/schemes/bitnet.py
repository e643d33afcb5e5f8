"""BitNet: four ternary weights in a byte, packed along the outputs. weight U8 [N/4, K], weight_scale of one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.packed_module import PER_TENSOR, PackedWeight, group_of_scale

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule


def bitnet(module: StoredModule) -> PackedWeight | None:
    weight, scale = module.matrix("weight"), module.parts.get("weight_scale")
    if weight is None or scale is None or weight.dtype != "U8" or len(weight.shape) != 2:
        return None
    if group_of_scale(weight, scale) != PER_TENSOR:
        return None
    rows, columns = weight.shape
    return PackedWeight("bitnet", (4 * rows, columns), 2, PER_TENSOR)
