"""8-bit floats with scales: DeepSeek's blocks of 128 by 128, groups, one scale a row, a matrix or a weight.

weight F8_E4M3, F8_E5M2 or one of the FNUZ formats, whose numbers differ [.., N, K]; W = code * scale. It is called
weight_scale_inv (DeepSeek: despite its name the number is multiplied), weight_scale, or scale (DeepSeek-V4). A U8 or
E8M0 scale is 2**(b - 127). Llama 4's experts in fbgemm are [E, K, N], with a scale for each of the N (transformers,
integrations/fbgemm_fp8.py, FbgemmFp8Llama4TextExperts).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault, Formula, Numbers
from weightsmith.schemes.packed_module import PER_ROW, PackedWeight
from weightsmith.schemes.scales import by_column, spread
from weightsmith.schemes.stated import ScaleBlock

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import Method, StoredModule

FLOATS = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
_DEEPSEEK = ScaleBlock(128, 128)


def fp8(module: StoredModule) -> PackedWeight | None:
    weight = module.matrix("weight")
    scale = module.scale("weight_scale_inv", "weight_scale", "scale")
    if weight is None or scale is None or weight.dtype not in FLOATS:
        return None
    own = "weight_scale_inv" in module.parts or "scale" in module.parts
    stated = module.stated.block or (_DEEPSEEK if own and module.stated.method == "fp8" else None)
    turned = len(weight.shape) == 3 and module.stated.method == "fbgemm_fp8"
    columns = by_column(weight.shape, scale) if turned else None
    found = columns or spread(weight.name, weight.shape, scale, stated)
    method: Method = "fp8-block" if own else _by_channel(module)
    if isinstance(found, Fault):
        return PackedWeight(method, weight.shape, 8, PER_ROW, found)
    made = Formula(weight, Numbers(weight.dtype), scales=(found.operand,))
    return PackedWeight(method, weight.shape, 8, found.group, made)


def _by_channel(module: StoredModule) -> Method:
    """compressed-tensors' name for it, unless the config or ModelSlim's description tells of another library."""
    if module.stated.description:
        return "fp8"
    return "compressed-tensors-fp8" if module.stated.method in (None, "compressed-tensors") else "fp8"
