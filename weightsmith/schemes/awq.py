"""AutoAWQ (gemm): 4-bit integers packed along the outputs, in 32-bit words.

qweight I32 [K, N/8], scales [K/g, N], qzeros I32 [K/g, N/8]; the eight fields of a word hold the outputs
0 2 4 6 1 3 5 7 of their eight (AutoAWQ, awq/utils/packing_utils.py). W = (code - zero) * scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fan, Fault, Formula, Numbers, Operand, transposed
from weightsmith.schemes.gptq import contradiction, group_width, words_with_zeros
from weightsmith.schemes.packed_module import PER_ROW, PackedWeight

if TYPE_CHECKING:
    from weightsmith.schemes.gptq import WordsWithZeros
    from weightsmith.schemes.packed_module import StoredModule

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def awq(module: StoredModule) -> PackedWeight | None:
    sizes = words_with_zeros(module)
    if sizes is None or sizes.columns != sizes.zeros or sizes.columns == sizes.outputs:
        return None
    group = PER_ROW if sizes.groups == 1 else group_width(module, sizes.rows, sizes.groups)
    made = contradiction(module, "awq", sizes.bits, group) or _formula(module, sizes)
    return PackedWeight("awq", (sizes.outputs, sizes.rows), sizes.bits, group, made, symmetric=False)


def _formula(module: StoredModule, sizes: WordsWithZeros) -> Formula | Fault:
    words, scales, zeros = (module.parts[part] for part in ("qweight", "scales", "qzeros"))
    whole = sizes.bits == 4 and len(words.shape) == 2 and sizes.outputs == 8 * sizes.columns
    if not whole or len(scales.shape) != 2 or zeros.shape != (sizes.groups, sizes.columns):
        fact = (
            f"of {list(words.shape)} does not go with scales of {list(scales.shape)} as AWQ's gemm packs them"
        )
        return Fault(words.name, fact, "`--converter plain` copies it as it is")
    width, layout = group_width(module, sizes.rows, sizes.groups), Fan(4, ORDER)
    return Formula(
        codes=transposed(words),
        layout=layout,
        scales=(Operand(transposed(scales), Numbers(scales.dtype), width, rows=8),),
        zeros=Operand(transposed(zeros), layout, width),
    )
