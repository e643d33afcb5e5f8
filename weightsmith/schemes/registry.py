"""The list of all schemes: from a module's stored tensors to the weight that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes import bitsandbytes, compressed_tensors_layouts
from weightsmith.schemes.awq import awq
from weightsmith.schemes.bitnet import bitnet
from weightsmith.schemes.fp8_block import fp8_block
from weightsmith.schemes.gptq import gptq
from weightsmith.schemes.modelslim import modelslim
from weightsmith.schemes.mxfp4 import mxfp4

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.schemes.packed_module import PackedWeight, StoredModule

# The first that answers is right. modelslim stands before compressed-tensors: it adds a tensor to the same layout.
SCHEMES: tuple[Callable[[StoredModule], PackedWeight | None], ...] = (
    gptq,
    awq,
    compressed_tensors_layouts.packed_words_or_fp4,
    fp8_block,
    bitsandbytes.eight_bit,
    bitnet,
    modelslim,
    compressed_tensors_layouts.codes_of_eight_bits,
    mxfp4,
    bitsandbytes.four_bit,
)


def packed_weight(module: StoredModule) -> PackedWeight | None:
    """What the module's tensors stand for; None when no scheme knows them."""
    return next((found for scheme in SCHEMES if (found := scheme(module)) is not None), None)
