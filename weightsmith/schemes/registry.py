"""The list of all schemes: from a module's stored tensors to the weight that they stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.schemes import bitsandbytes, compressed_tensors, fp4, others
from weightsmith.schemes.accounted import accounted
from weightsmith.schemes.awq import awq
from weightsmith.schemes.awq_gemv import awq_gemv, awq_gemv_fast
from weightsmith.schemes.bitnet import bitnet
from weightsmith.schemes.fp8 import fp8
from weightsmith.schemes.gguf import gguf
from weightsmith.schemes.gptq import gptq
from weightsmith.schemes.mlx import mlx
from weightsmith.schemes.modelslim import modelslim

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import PackedWeight, Scheme, StoredModule

# The first that answers is right. modelslim stands before those that store the same without its own tensors.
SCHEMES: tuple[Scheme, ...] = (
    gguf,
    gptq,
    awq,
    awq_gemv,
    awq_gemv_fast,
    compressed_tensors.packed_words,
    modelslim,
    fp8,
    bitsandbytes.eight_bit,
    fp4.pairs,
    bitnet,
    compressed_tensors.codes_of_eight_bits,
    fp4.gpt_oss,
    bitsandbytes.four_bit,
    mlx,
    others.quanto,
    others.torchao,
)


def packed_weight(module: StoredModule) -> PackedWeight | None:
    """What the module's tensors stand for; None when no scheme knows them."""
    found = next((found for scheme in SCHEMES if (found := scheme(module)) is not None), None)
    return None if found is None else replace(found, made=accounted(found.made, module.parts))
