"""quanto and torchao: what they store for linear layers, as far as it is one formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault, Formula, Numbers, Operand, like
from weightsmith.schemes.packed_module import AS_IT_IS, PER_ROW, PackedWeight
from weightsmith.schemes.scales import spread

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.packed_module import Method, StoredModule


def quanto(module: StoredModule) -> PackedWeight | None:
    """weight._data I8 or F8 [N, K], weight._scale [N, 1]: W = data * scale; fewer bits lie in kernels' orders."""
    return _codes(module, "quanto", "_data", "_scale", "_shift")


def torchao(module: StoredModule) -> PackedWeight | None:
    """_weight_qdata I8 or F8 [N, K], _weight_scale: W = (qdata - zero_point) * scale; fewer bits lie in tiles."""
    return _codes(module, "torchao", "_weight_qdata", "_weight_scale", "_weight_zero_point")


def _codes(
    module: StoredModule, method: Method, data: str, scale_name: str, zero: str
) -> PackedWeight | None:
    codes, scale = module.parts.get(data), module.scale(scale_name)
    if codes is None or scale is None:
        return None
    points = module.parts.get(zero)
    made = _formula(method, codes, scale, points)
    known = isinstance(made, Formula)
    return PackedWeight(
        method, codes.shape if known else None, 8 if known else 4, PER_ROW, made, points is None
    )


def _formula(method: str, codes: Tensor, scale: Tensor, points: Tensor | None) -> Formula | Fault:
    known = len(codes.shape) >= 2 and codes.elements and codes.dtype in ("I8", "F8_E4M3", "F8_E5M2")
    if not known or (points is not None and (points.dtype != "I8" or points.shape != scale.shape)):
        fact = f"is {method}'s {codes.dtype} {list(codes.shape)}, in the order of a kernel"
        return Fault(codes.name, fact, f"dequantize it with {method} itself; {AS_IT_IS}")
    found = spread(codes.name, codes.shape, scale)
    if isinstance(found, Fault):
        return found
    operand = found.operand
    zeros = None
    if points is not None:
        zeros = Operand(
            like(points, operand.tensor), Numbers("I8"), operand.width, operand.each, operand.rows
        )
    return Formula(codes, Numbers(codes.dtype), scales=(operand,), zeros=zeros)
