"""DeepSeek's FP8: one scale for every block of 128 by 128.

weight F8 [N, K], weight_scale_inv [N/128, K/128] rounded up.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from weightsmith.schemes.packed_module import PER_TENSOR, PackedWeight

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule


def fp8_block(module: StoredModule) -> PackedWeight | None:
    weight, scale = module.matrix("weight"), module.parts.get("weight_scale_inv")
    if weight is None or scale is None or not scale.elements:
        return None
    group = block_size(weight.shape[-1], scale.shape[-1]) if scale.shape else PER_TENSOR
    return PackedWeight("fp8-block", weight.shape, 8, group)


@cache
def block_size(width: int, blocks: int) -> int:
    """The power of two that cuts `width` into `blocks`; the largest where several do; 0 where none does."""
    sizes = (2**power for power in range(12, 3, -1))
    return next((size for size in sizes if -(-width // size) == blocks), 0)
