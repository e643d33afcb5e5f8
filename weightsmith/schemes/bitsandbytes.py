"""bitsandbytes: 8 bits with a scale per row, or 4 bits with the weight's shape as JSON in a small tensor beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.checkpoint.file_bytes import ByteFile
from weightsmith.errors import WeightsmithError
from weightsmith.schemes.packed_module import PER_ROW, PackedWeight

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint.table import Checkpoint, Tensor
    from weightsmith.schemes.packed_module import Method, Shape, StoredModule

# How the last names of quant_state tensors begin.
STATE = "bitsandbytes__"
# The JSON has about 150 bytes; more is something else.
MAX_STATE = 65_536


def eight_bit(module: StoredModule) -> PackedWeight | None:
    """weight I8 [N, K], SCB [N]."""
    weight = module.parts.get("weight")
    if weight is None or weight.dtype != "I8" or "SCB" not in module.parts:
        return None
    return PackedWeight("bitsandbytes-int8", weight.shape, 8, PER_ROW)


def four_bit(module: StoredModule) -> PackedWeight | None:
    """weight U8 [N*K/2, 1], absmax, and quant_state.bitsandbytes__nf4 or __fp4, which holds the shape."""
    if not {"absmax", "weight"} <= module.parts.keys():
        return None
    state = next((tensor for part, tensor in module.parts.items() if part.startswith(STATE)), None)
    shape = _shape_in(state, module.read) if state is not None else None
    method: Method = "bitsandbytes-fp4" if f"{STATE}fp4" in module.parts else "bitsandbytes-nf4"
    return PackedWeight(method, shape, 4, 0)


def _shape_in(state: Tensor, read: Callable[[Tensor], bytes | None]) -> Shape | None:
    """The shape that `…quant_state.bitsandbytes__nf4` states; None when it cannot be read or is not one."""
    raw = read(state)
    try:
        shape = json.loads(raw)["shape"] if raw else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if isinstance(shape, list) and shape and all(type(size) is int and 0 < size < 2**40 for size in shape):
        return tuple(shape)
    return None


def small_tensor_reader(checkpoint: Checkpoint) -> Callable[[Tensor], bytes | None]:
    """Reads the bytes of one small byte tensor from its file; None when that is not possible."""

    def read(tensor: Tensor) -> bytes | None:
        if tensor.dtype != "U8" or tensor.elements > MAX_STATE or not tensor.contiguous:
            return None
        try:
            with ByteFile(checkpoint.root / tensor.storage.file, tensor.storage.file) as file:
                return file.read(tensor.start, tensor.elements)
        except WeightsmithError:
            return None

    return read
