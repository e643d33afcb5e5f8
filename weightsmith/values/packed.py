"""Which tensors hold weights in an integer or 8-bit format that must be unpacked before use, by dtype and name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint

# compressed-tensors: weight_packed; GPTQ and AWQ: qweight; MXFP4 (gpt-oss): _blocks; bitsandbytes and bitnet
# keep the name `weight` and change the dtype.
_PACKED_NAME = re.compile(r"(^|[._])(weight_packed|qweight|\w*_blocks|packed_weight)$")
_WHOLE_NUMBERS = frozenset({"U8", "I8", "I32", "U32", "I16", "U16"})
_SMALL_FLOATS = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2"})


def packed_tensors(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names in file order."""
    return tuple(
        name
        for name, tensor in checkpoint.tensors.items()
        if (tensor.dtype in _WHOLE_NUMBERS and _PACKED_NAME.search(name) is not None)
        or (
            name.endswith("weight")
            and len(tensor.shape) >= 2
            and (tensor.dtype in _SMALL_FLOATS or tensor.dtype in _WHOLE_NUMBERS)
        )
    )
