"""compressed-tensors: integers in 32-bit words, pairs of FP4 in bytes, or codes of 8 bits as they are.

Packed: weight_packed I32 [N, words], weight_scale [N, K/g], weight_shape I64 [2], perhaps weight_zero_point,
packed down the columns, and weight_g_idx, the group of each input channel, or -1 alone. A code is stored
+ 2**(bits - 1). Older versions put 32 // bits codes in a word, newer ones let a code cross into the next
(compressors/pack_quantized).
W = (code - zero) * scale.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from weightsmith.schemes.formula import (
    Fault,
    Fields,
    Formula,
    Numbers,
    Operand,
    flat_grid,
    like,
    one_row,
    packed_down,
)
from weightsmith.schemes.packed_module import (
    AS_IT_IS,
    DAMAGED,
    PACKED_BITS,
    PER_ROW,
    PackedWeight,
    missing,
)  # fmt: skip
from weightsmith.schemes.scales import DTYPES, spread

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.packed_module import Shape, StoredModule

_WORDS = ("I32", "U32")


def packed_words(module: StoredModule) -> PackedWeight | None:
    """weight_packed I32, and what goes with it."""
    packed, scale = module.matrix("weight_packed"), module.scale("weight_scale")
    if packed is None or packed.dtype not in _WORDS:
        return None
    symmetric = "weight_zero_point" not in module.parts
    if "scale_packed" in module.parts:
        fact = "is compressed-tensors' marlin-24: pruned, and in the order of a kernel"
        kernel = Fault(packed.name, fact, f"dequantize it with the library that wrote it; {AS_IT_IS}")
        return PackedWeight("compressed-tensors-packed", None, 4, PER_ROW, kernel, symmetric)
    if scale is None:
        shape, bits = _guessed(module, packed)
        lost = missing(module, "weight_packed", "weight_scale")
        return PackedWeight("compressed-tensors-packed", shape, bits, PER_ROW, lost, symmetric)
    told = _told_shape(module, packed)
    if isinstance(told, Fault):
        shape, bits = _guessed(module, packed)
        made: Formula | Fault = told
    else:
        shape = told
        bits, dense, fault = _bits(module, packed, shape)
        made = fault or _formula(module, packed, scale, shape, bits, dense=dense)
    groups = scale.shape[-1] if len(scale.shape) > 1 else 1
    group = PER_ROW if groups == 1 else shape[-1] // groups
    return PackedWeight("compressed-tensors-packed", shape, bits, group, made, symmetric)


def _told_shape(module: StoredModule, packed: Tensor) -> Shape | Fault:
    """The weight's own shape, whose rows must be those of the words."""
    told = module.parts.get("weight_shape")
    if told is None:
        return missing(module, "weight_packed", "weight_shape")
    raw = module.read(told)
    size = {"I64": 8, "I32": 4}.get(told.dtype)
    if raw is None or size is None:
        return Fault(told.name, f"is {told.dtype} {list(told.shape)}, not a few integers", DAMAGED)
    shape = tuple(
        int.from_bytes(raw[at : at + size], "little", signed=True) for at in range(0, len(raw), size)
    )
    if shape[:-1] != packed.shape[:-1] or not 0 < shape[-1] < 2**40:
        return Fault(
            told.name, f"says {list(shape)}, which words of {list(packed.shape)} do not hold", DAMAGED
        )
    return shape


def _guessed(module: StoredModule, packed: Tensor) -> tuple[Shape, int]:
    """(shape, bits) where nothing tells them: a width that the model has, at the bits that are common."""
    columns = packed.shape[-1]
    stated = sorted(module.stated.bits)
    bits = next((bits for bits in (*stated, 4, 8, 2) if columns * 32 // bits in module.known_widths), 4)
    return (*packed.shape[:-1], columns * 32 // bits), bits


def _bits(module: StoredModule, packed: Tensor, shape: Shape) -> tuple[int, bool, Fault | None]:
    """(bits, whether codes cross words, what is wrong): the number of words tells, and where two do, the config."""
    columns, words, stated = shape[-1], packed.shape[-1], module.stated.bits
    dense = [bits for bits in PACKED_BITS if -(-columns * bits // 32) == words]
    loose = [bits for bits in PACKED_BITS if 32 % bits and -(-columns // (32 // bits)) == words]
    found = [(bits, True) for bits in dense] + [(bits, False) for bits in loose]
    if not found:
        fact = f"says {list(shape)}, which no words of {list(packed.shape)} hold at 1 to 8 bits"
        return 4, True, Fault(module.parts["weight_shape"].name, fact, DAMAGED)
    agreed = [answer for answer in found if answer[0] in stated] if stated else []
    if stated and not agreed:
        said = ", ".join(map(str, sorted(stated)))
        fact = f"holds {found[0][0]} bits, and the config says {said}"
        return *found[0], Fault(packed.name, fact, f"correct num_bits in config.json; {AS_IT_IS}")
    best = agreed or sorted(found, key=lambda answer: answer[0] not in (4, 8, 2))
    return *best[0], None


def _formula(
    module: StoredModule, packed: Tensor, scale: Tensor, shape: Shape, bits: int, *, dense: bool
) -> Formula | Fault:
    points, order = module.parts.get("weight_zero_point"), _order(module, shape)
    if isinstance(order, Fault):
        return order
    spread_out = spread(packed.name, shape, scale, module.stated.block)
    if isinstance(spread_out, Fault):
        spread_out = spread(packed.name, shape, scale)
    if isinstance(spread_out, Fault):
        return spread_out
    zeros = _zeros(points, scale, spread_out.operand, bits, dense=dense) if points is not None else None
    if isinstance(zeros, Fault):
        return zeros
    return Formula(
        codes=packed,
        layout=Fields(bits, shape[-1], 1 << bits - 1, dense=dense),
        scales=(spread_out.operand,),
        zeros=zeros,
        order=order,
    )


def _order(module: StoredModule, shape: Shape) -> Operand | Fault | None:
    """The group of each input channel, where it is stored."""
    order = module.parts.get("weight_g_idx")
    if order is None:
        return None
    if order.elements != shape[-1] or order.dtype not in ("I32", "I64"):
        return Fault(order.name, f"is {order.dtype} {list(order.shape)}: no group for each channel", DAMAGED)
    return one_row(order, Numbers(order.dtype), prod(shape[:-1]))


def _zeros(points: Tensor, scale: Tensor, operand: Operand, bits: int, *, dense: bool) -> Operand | Fault:
    """Zero points are packed down the columns for groups and rows, and stored as they are otherwise."""
    if points.dtype == "I8" and points.elements == scale.elements:
        return Operand(like(points, operand.tensor), Numbers("I8"), operand.width, operand.each, operand.rows)
    rows, groups = flat_grid(operand.tensor)
    each = None if dense else 32 // bits
    words = -(-rows * bits // 32) if each is None else -(-rows // each)
    fits = points.dtype in _WORDS and len(points.shape) == 2 and operand.each == 1
    if not fits or points.shape != (words, groups):
        return Fault(
            points.name, f"is {points.dtype} {list(points.shape)}: no zero points of {scale.name}", DAMAGED
        )
    return packed_down(points, bits, 1 << bits - 1, operand.width, dense=dense)


def codes_of_eight_bits(module: StoredModule) -> PackedWeight | None:
    """weight I8 [N, K], weight_scale in any grid, perhaps weight_zero_point I8."""
    weight, scale = module.matrix("weight"), module.scale("weight_scale")
    if (
        weight is None
        or scale is None
        or weight.dtype != "I8"
        or scale.dtype not in DTYPES - {"U8", "F8_E8M0"}
    ):
        return None
    points = module.parts.get("weight_zero_point")
    found = spread(weight.name, weight.shape, scale, module.stated.block)
    if isinstance(found, Fault):
        return PackedWeight("compressed-tensors-int8", weight.shape, 8, PER_ROW, found, points is None)
    zeros = _zeros(points, scale, found.operand, 8, dense=True) if points is not None else None
    order = _order(module, weight.shape)
    made: Formula | Fault
    if isinstance(zeros, Fault):
        made = zeros
    elif isinstance(order, Fault):
        made = order
    else:
        made = Formula(weight, Numbers("I8"), (found.operand,), zeros=zeros, order=order)
    return PackedWeight("compressed-tensors-int8", weight.shape, 8, found.group, made, points is None)
