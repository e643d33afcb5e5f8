"""AutoGPTQ: integers packed along the inputs, in 32-bit words.

qweight I32 [K*bits/32, N], scales [K/g, N], qzeros I32 [K/g, N*bits/32], g_idx [K].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.schemes.packed_module import PACKED_BITS, PackedWeight, group_of_scales

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule


@dataclass(frozen=True, slots=True)
class WordsWithZeros:
    """The sizes of qweight, scales and qzeros. bits: per weight, as the zero points tell."""

    rows: int
    columns: int
    groups: int
    outputs: int
    zeros: int

    @property
    def bits(self) -> int:
        return 32 * self.zeros // self.outputs


def words_with_zeros(module: StoredModule) -> WordsWithZeros | None:
    """The sizes of a module that holds qweight, scales and qzeros, which AutoGPTQ and AutoAWQ both write."""
    words, scales, points = (module.matrix(part) for part in ("qweight", "scales", "qzeros"))
    if words is None or scales is None or points is None:
        return None
    rows, columns = words.shape[-2:]
    groups, outputs = scales.shape[-2:]
    sizes = WordsWithZeros(rows, columns, groups, outputs, points.shape[-1])
    return sizes if sizes.bits in PACKED_BITS else None


def gptq(module: StoredModule) -> PackedWeight | None:
    sizes = words_with_zeros(module)
    if sizes is None or sizes.columns != sizes.outputs:
        return None
    order = module.parts.get("g_idx")
    inputs = 32 * sizes.rows // sizes.bits
    # Some writers leave an empty order where the channels are not reordered.
    if order is not None and len(order.shape) == 1 and order.elements:
        inputs = order.elements
    bits = 32 * sizes.rows // inputs
    if bits not in PACKED_BITS:
        return None
    return PackedWeight("gptq", (sizes.outputs, inputs), bits, group_of_scales(inputs, sizes.groups))
