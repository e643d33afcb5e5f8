"""ModelSlim, Ascend's quantizer: weight I8 [N, K], weight_scale [N, 1] or one number, and an offset or a deq_scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.packed_module import PackedWeight, group_of_scale

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule


def modelslim(module: StoredModule) -> PackedWeight | None:
    weight, scale = module.matrix("weight"), module.parts.get("weight_scale")
    own = {"weight_offset", "deq_scale"} & module.parts.keys()
    if weight is None or scale is None or not scale.elements or weight.dtype != "I8" or not own:
        return None
    return PackedWeight("modelslim", weight.shape, 8, group_of_scale(weight, scale))
