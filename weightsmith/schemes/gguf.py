"""GGUF: blocks of bytes, each with the scales of its numbers in it; their arithmetic is gguf's own.

`weightsmith.checkpoint.gguf_file` hangs below a weight's name how it is stored: `m.weight.gguf_q4_k` U8 [N, bytes].
Norms to which llama.cpp added one end with `_less_one`. Rows that are stored in another order than the model's come as
[heads, 2, rows, bytes] by their strides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.gguf_types import BY_NAME, LESS_ONE, PREFIX
from weightsmith.schemes.formula import Fault, Formula, GgufBlocks, Numbers, flat_grid
from weightsmith.schemes.packed_module import PER_ROW, PackedWeight

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule

# Types that gguf has no code for, on a CPU.
_WITHOUT_CODE = frozenset({"q8_1", "q8_k", "q1_0"})
_BITS = re.compile(r"[0-9]+")


def gguf(module: StoredModule) -> PackedWeight | None:
    part, tensor = next(
        ((part, tensor) for part, tensor in module.parts.items() if part.startswith(PREFIX)), (None, None)
    )
    kind = BY_NAME.get(part.removeprefix(PREFIX).removesuffix(LESS_ONE)) if part is not None else None
    if tensor is None or kind is None:
        return None
    rows, stored = flat_grid(tensor)
    columns = stored if kind.count == 1 else stored // kind.nbytes * kind.count
    turned = len(tensor.shape) == 4 and not tensor.contiguous
    in_numbers = tensor.shape if kind.count == 1 else (*tensor.shape[:-1], columns)
    shape = (rows, columns) if turned else in_numbers
    made: Formula | Fault
    if kind.name in _WITHOUT_CODE:
        made = Fault(
            tensor.name, f"is {kind.name}, which no code turns into numbers", "take another file of it"
        )
    elif kind.count == 1:
        less_one = part is not None and part.endswith(LESS_ONE)
        made = Formula(tensor, Numbers(tensor.dtype, offset=1 if less_one else 0))
    else:
        made = Formula(tensor, GgufBlocks(kind.name, columns))
    found = _BITS.search(kind.name)
    bits = int(found[0]) if found is not None else 4
    return PackedWeight("gguf", shape, bits, kind.count if kind.count > 1 else PER_ROW, made, symmetric=None)
