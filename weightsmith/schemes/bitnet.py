"""BitNet: four ternary weights in a byte, packed along the outputs: weight U8 [N/4, K], weight_scale of one number.

Field s of byte row r is row s * N/4 + r of the weight, less one (transformers, integrations/bitnet.py, unpack_weights).
The two linear layers of transformers use the scale in opposite ways: AutoBitLinear multiplies by it, BitLinear divides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault, Formula, Numbers, Slices, flat_grid, one_row
from weightsmith.schemes.packed_module import AS_IT_IS, PER_TENSOR, PackedWeight

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.packed_module import StoredModule


def bitnet(module: StoredModule) -> PackedWeight | None:
    weight, scale = module.matrix("weight"), module.scale("weight_scale")
    if weight is None or scale is None or weight.dtype != "U8" or len(weight.shape) != 2:
        return None
    if scale.elements != 1 or weight.shape[-2] <= 1:
        return None
    rows, columns = weight.shape
    made = _formula(module, weight, scale)
    return PackedWeight("bitnet", (4 * rows, columns), 2, PER_TENSOR, made)


def _formula(module: StoredModule, weight: Tensor, scale: Tensor) -> Formula | Fault:
    rows = flat_grid(weight)[0]
    layer = module.stated.section.get("linear_class")
    if layer is None and module.stated.method == "bitnet":
        layer = "bitlinear"  # the default of transformers' BitNetQuantConfig
    if layer not in ("bitlinear", "autobitlinear"):
        fact = "is multiplied by AutoBitLinear and divided by BitLinear, and no config says which of them this is for"
        return Fault(scale.name, fact, f"set quantization_config.linear_class; {AS_IT_IS}")
    operand = one_row(scale, Numbers(scale.dtype), 4 * rows)
    if layer == "autobitlinear":
        return Formula(weight, Slices(2, rows, 1), scales=(operand,), slices=4)
    return Formula(weight, Slices(2, rows, 1), divisors=(operand,), slices=4)
