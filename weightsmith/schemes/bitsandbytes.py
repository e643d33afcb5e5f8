"""bitsandbytes' 4-bit layout keeps a weight's shape not in the header but as JSON inside a small tensor beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint.table import Checkpoint, Tensor

# The JSON has about 150 bytes; more is something else.
MAX_STATE = 65_536


def four_bit_shape(state: Tensor, read: Callable[[Tensor], bytes | None]) -> tuple[int, ...] | None:
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
            with (checkpoint.root / tensor.storage.file).open("rb") as file:
                file.seek(tensor.start)
                return file.read(tensor.elements)
        except OSError:
            return None

    return read
