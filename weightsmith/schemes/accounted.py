"""No tensor of a packed module is left out of account: what is neither in the formula nor known to be beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.schemes.bitsandbytes import STATE
from weightsmith.schemes.formula import Fault, Formula, Numbers, Operand, flat_grid, one_row, regrouped
from weightsmith.schemes.packed_module import AS_IT_IS
from weightsmith.schemes.stored_names import ENGINE_PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.table import Tensor

# What a weight does not depend on beside its formula: what an engine has a use for, what tells a shape or an order, and
# products of other parts.
_BESIDE_THE_FORMULA = ENGINE_PARTS | {"bias", "weight_shape", "weight_format", "deq_scale", "clip_ratio"}
_OFFSETS = frozenset({"weight_offset", "weight_offset_second", "weight_zero_point"})


def accounted(made: Formula | Fault, parts: Mapping[str, Tensor]) -> Formula | Fault:
    """The formula, unless a tensor of the module is not in it that the weight may depend on.

    Offsets that the definition has no place for are put down as such: they must be zero.
    """
    if isinstance(made, Fault):
        return made
    used = {made.codes.name, *(operand.tensor.name for operand in made.operands)}
    rows = flat_grid(made.codes)[0] * made.slices
    nil: list[Operand] = []
    for part, tensor in parts.items():
        if tensor.name in used or _stands_beside(part) or not tensor.elements:
            continue
        if part not in _OFFSETS or not tensor.contiguous:
            fact = "belongs to the weight, and its scheme as it is known here has no place for it"
            return Fault(tensor.name, fact, AS_IT_IS)
        nil.append(_by_row(tensor, rows))
    return replace(made, nil=tuple(nil)) if nil else made


def _stands_beside(part: str) -> bool:
    return part in _BESIDE_THE_FORMULA or part.startswith(STATE)


def _by_row(tensor: Tensor, rows: int) -> Operand:
    """An equal share of the tensor with each row of the codes, or all of it with every row."""
    numbers = Numbers(tensor.dtype)
    if tensor.elements % rows:
        return one_row(tensor, numbers, rows)
    return Operand(regrouped(tensor, rows, tensor.elements // rows), numbers)
