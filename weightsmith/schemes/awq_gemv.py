"""AutoAWQ's layouts for single tokens (`version` gemv and gemv_fast): 4-bit integers packed along the inputs.

gemv: qweight I32 [N, K/8], scales [N, 8*Z], qzeros I32 [N, Z], lowest bits first; Z words hold the zero points of
K/g groups, and what is left of them is unused. W = (code - zero) * scale.
gemv_fast: qweight I16 [N/4, K], scales and scaled_zeros [8*Z, N]; a row holds four, 64 channels of each by turns.
W = code * scale + scaled_zero.
Sources: AutoAWQ, awq/modules/linear/gemv.py and gemv_fast.py (`calculate_zeros_width`, `pack_intweight`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault, Fields, Formula, FourRows, Numbers, Operand, transposed
from weightsmith.schemes.gptq import contradiction
from weightsmith.schemes.packed_module import AS_IT_IS, PER_ROW, PackedWeight

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.packed_module import StoredModule

_GROUPS = (128, 64, 32)
_WORD, _FAST_ROWS, _FAST_WIDTH = 8, 4, 64
# The channels of 32 codes: eight apart, then the next of each pair, then the next pair.
_ORDER = tuple(8 * place + 2 * pair + half for pair in range(4) for half in range(2) for place in range(4))


def awq_gemv(module: StoredModule) -> PackedWeight | None:
    words, scales, zeros = (module.matrix(part) for part in ("qweight", "scales", "qzeros"))
    if words is None or scales is None or zeros is None or words.dtype != "I32" or len(words.shape) != 2:
        return None
    rows, columns = words.shape
    if zeros.shape[0] != rows or scales.shape != (rows, _WORD * zeros.shape[-1]):
        return None
    inputs = _WORD * columns
    group = _group(module, inputs, zeros.shape[1])
    made: Formula | Fault
    if isinstance(group, Fault):
        return PackedWeight("awq", (rows, inputs), 4, PER_ROW, group, symmetric=False)
    made = contradiction(module, "awq", 4, group) or Formula(
        words,
        Fields(4, inputs),
        scales=(Operand(scales, Numbers(scales.dtype), group),),
        zeros=Operand(zeros, Fields(4, scales.shape[1]), group),
    )
    return PackedWeight("awq", (rows, inputs), 4, group, made, symmetric=False)


def awq_gemv_fast(module: StoredModule) -> PackedWeight | None:
    words, scales, zeros = (module.matrix(part) for part in ("qweight", "scales", "scaled_zeros"))
    if words is None or scales is None or zeros is None or words.dtype != "I16" or len(words.shape) != 2:
        return None
    shape = (_FAST_ROWS * words.shape[0], words.shape[1])
    if scales.shape != zeros.shape or scales.shape[-1] != shape[0] or shape[1] % _FAST_WIDTH:
        return None
    group = _group(module, shape[1], scales.shape[0] // _WORD)
    if isinstance(group, Fault):
        return PackedWeight("awq", shape, 4, PER_ROW, group, symmetric=False)
    made = contradiction(module, "awq", 4, group) or Formula(
        words,
        FourRows(_ORDER),
        scales=(_beside(scales, group),),
        shift=_beside(zeros, group),
    )
    return PackedWeight("awq", shape, 4, group, made, symmetric=False)


def _beside(tensor: Tensor, group: int) -> Operand:
    return Operand(transposed(tensor), Numbers(tensor.dtype), group, rows=_FAST_ROWS)


def _group(module: StoredModule, inputs: int, words: int) -> int | Fault:
    """The group whose zero points take so many words: what the config says, or the only usual one."""
    stated = module.stated.section.get("group_size", module.stated.section.get("q_group_size"))
    said = inputs if stated == -1 else module.stated.group
    fits = [group for group in ((said,) if said else _GROUPS) if _width(inputs, group) == words]
    if len(fits) == 1:
        return fits[0]
    subject = module.parts["scales"].name
    if said:
        fact = f"holds {words} words of groups for {inputs} channels, which groups of {said} do not make"
        return Fault(subject, fact, f"correct `group_size`; {AS_IT_IS}")
    return Fault(
        subject, "is AWQ's gemv, and no config says in which groups", f"set `group_size`; {AS_IT_IS}"
    )


def _width(inputs: int, group: int) -> int | None:
    """How many words hold the zero points; small groups fill up pairs and fours of words."""
    if group < _GROUPS[-1] or inputs % group:
        return None
    together = max(1, _GROUPS[0] // group)
    return -(-(inputs // group) // (_WORD * together)) * together
