"""AutoGPTQ: integers packed along the inputs, in 32-bit words.

qweight I32 [K*bits/32, N], scales [K/g, N], qzeros I32 [K/g, N*bits/32], g_idx [K].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.schemes.packed_module import PackedWeight, group_of_scales, last_two

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
    parts = module.parts
    if not {"qweight", "scales", "qzeros"} <= parts.keys():
        return None
    rows, columns = last_two(parts["qweight"].shape)
    groups, outputs = last_two(parts["scales"].shape)
    zeros = last_two(parts["qzeros"].shape)[1]
    return (
        WordsWithZeros(rows, columns, groups, outputs, zeros)
        if rows and groups and outputs and zeros
        else None
    )


def gptq(module: StoredModule) -> PackedWeight | None:
    sizes = words_with_zeros(module)
    if sizes is None or sizes.columns != sizes.outputs or not sizes.bits:
        return None
    order = module.parts.get("g_idx")
    inputs = order.shape[0] if order is not None else 32 * sizes.rows // sizes.bits
    group = group_of_scales(inputs, sizes.groups)
    return PackedWeight("gptq", (sizes.outputs, inputs), 32 * sizes.rows // inputs, group)
