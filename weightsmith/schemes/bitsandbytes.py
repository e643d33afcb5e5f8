"""bitsandbytes: 8 bits with a scale per row, or 4 bits with the weight's shape as JSON in a small tensor beside it.

8 bits: weight I8 [N, K], SCB [N]; W = code * SCB / 127. 4 bits: weight U8 [N*K/2, 1], the first of two codes in the
high half; quant_map, what the 16 codes stand for; absmax, one for each `blocksize` numbers in the order of the rows.
W = quant_map[code] * absmax. With double quantization absmax is U8: nested_quant_map[absmax] * nested_absmax, one for
each `nested_blocksize`, + nested_offset (bitsandbytes, functional.py, QuantState and dequantize_4bit).
"""

from __future__ import annotations

import json
import math
from math import prod
from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault, Fields, Formula, Nested, Numbers, Operand, one_row, regrouped
from weightsmith.schemes.packed_module import AS_IT_IS, DAMAGED, PER_ROW, PackedWeight, missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.formula import Scale
    from weightsmith.schemes.packed_module import Method, Shape, StoredModule

# How the last names of quant_state tensors begin.
STATE = "bitsandbytes__"


def eight_bit(module: StoredModule) -> PackedWeight | None:
    """weight I8 [N, K], SCB [N]."""
    weight, scale = module.matrix("weight"), module.parts.get("SCB")
    if weight is None or weight.dtype != "I8" or scale is None:
        return None
    made = _rows_of_eight_bits(module, weight, scale)
    return PackedWeight("bitsandbytes-int8", weight.shape, 8, PER_ROW, made)


def _rows_of_eight_bits(module: StoredModule, weight: Tensor, scale: Tensor) -> Formula | Fault:
    tile = module.parts.get("weight_format")
    # 0 is "row"; the others are the orders of old GPU kernels (bitsandbytes, LINEAR_8BIT_WEIGHTS_FORMAT_MAPPING).
    if tile is not None and module.read(tile) not in (b"\0", None):
        return Fault(tile.name, "says that the rows lie in the order of a GPU kernel", AS_IT_IS)
    if len(weight.shape) != 2 or scale.elements != weight.shape[0] or scale.dtype != "F32":
        return Fault(
            scale.name, f"is {scale.dtype} {list(scale.shape)}, not one scale for each row", AS_IT_IS
        )
    operand = Operand(regrouped(scale, scale.elements, 1), Numbers("F32"))
    return Formula(weight, Numbers("I8"), scales=(operand,), divisor=127.0)


def four_bit(module: StoredModule) -> PackedWeight | None:
    """weight U8 [N*K/2, 1], absmax, and quant_state.bitsandbytes__nf4 or __fp4, which holds the shape."""
    if not {"absmax", "weight"} <= module.parts.keys():
        return None
    found = next((tensor for part, tensor in module.parts.items() if part.startswith(STATE)), None)
    state = _object(module.read(found)) if found is not None else {}
    shape = _shape_in(state)
    method: Method = "bitsandbytes-fp4" if f"{STATE}fp4" in module.parts else "bitsandbytes-nf4"
    if shape is None:
        return PackedWeight(method, None, 4, 0, missing(module, "weight", f"weight.quant_state.{STATE}nf4"))
    size = _number(state, "blocksize", 64)
    return PackedWeight(method, shape, 4, size, _blocks(module, shape, size, state))


def _blocks(module: StoredModule, shape: Shape, size: int, state: Mapping[str, object]) -> Formula | Fault:
    weight, absmax, table = (module.parts.get(part) for part in ("weight", "absmax", "quant_map"))
    if weight is None or absmax is None or table is None:
        return missing(module, "weight", "weight.quant_map")
    elements, count = prod(shape), -(-prod(shape) // size)
    stored = weight.dtype == "U8" and weight.elements == -(-elements // 2) and weight.contiguous
    if not stored or absmax.elements != count or table.elements != 16 or table.dtype != "F32":
        fact = f"is {weight.dtype} {list(weight.shape)} with {absmax.elements} scales, which do not make {list(shape)}"
        return Fault(weight.name, fact, AS_IT_IS)
    if elements % size or size % 2:  # the last block is shorter: the whole weight is one row
        codes, numbers, rows = regrouped(weight, 1, weight.elements), elements, 1
        beside, width = regrouped(absmax, 1, count), size
    else:
        codes, numbers, rows = regrouped(weight, count, size // 2), size, count
        beside, width = regrouped(absmax, count, 1), 1
    scale = _scale(module, Operand(beside, Numbers(absmax.dtype), width), rows, state)
    if isinstance(scale, Fault):
        return scale
    layout = Fields(4, numbers, high_first=True)
    return Formula(codes, layout, scales=(scale,), table=one_row(table, Numbers("F32"), rows))


def _scale(module: StoredModule, absmax: Operand, rows: int, state: Mapping[str, object]) -> Scale | Fault:
    """The scales as they are, or undone where they are quantized themselves."""
    if absmax.tensor.dtype != "U8":
        return absmax
    factor, table = (module.parts.get(part) for part in ("nested_absmax", "nested_quant_map"))
    if factor is None or table is None:
        return missing(module, "weight", "weight.nested_absmax", "weight.nested_quant_map")
    size, offset = _number(state, "nested_blocksize", 256), state.get("nested_offset", 0.0)
    if not isinstance(offset, (int, float)) or not math.isfinite(offset):
        return Fault(factor.name, "has no finite nested_offset", DAMAGED)
    if table.elements != 256 or factor.elements != -(-absmax.tensor.elements // size) or rows == 1:
        fact = f"has {factor.elements} scales for {absmax.tensor.elements} scales in blocks of {size}"
        return Fault(factor.name, fact, AS_IT_IS)
    each = Operand(regrouped(factor, factor.elements, 1), Numbers(factor.dtype), each=size)
    return Nested(absmax, one_row(table, Numbers(table.dtype), rows), each, float(offset))


def _number(state: Mapping[str, object], key: str, default: int) -> int:
    found = state.get(key)
    return found if type(found) is int and 0 < found <= 1 << 20 else default


def _object(raw: bytes | None) -> Mapping[str, object]:
    try:
        found = json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _shape_in(state: Mapping[str, object]) -> Shape | None:
    """The shape that the state names; None when it is not one."""
    shape = state.get("shape")
    if isinstance(shape, list) and len(shape) >= 2 and all(type(n) is int and 0 < n < 2**40 for n in shape):
        return tuple(shape)
    return None
