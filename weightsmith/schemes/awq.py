"""AutoAWQ: integers packed along the outputs, in 32-bit words.

qweight I32 [K, N*bits/32], scales [K/g, N], qzeros I32 [K/g, N*bits/32].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.gptq import words_with_zeros
from weightsmith.schemes.packed_module import PackedWeight, group_of_scales

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule


def awq(module: StoredModule) -> PackedWeight | None:
    sizes = words_with_zeros(module)
    if sizes is None or sizes.columns != sizes.zeros:
        return None
    group = group_of_scales(sizes.rows, sizes.groups)
    return PackedWeight("awq", (sizes.outputs, sizes.rows), sizes.bits, group)
