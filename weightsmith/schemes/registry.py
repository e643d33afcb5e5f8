"""The list of all schemes: from a module's stored tensors to the weight that they stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.schemes import bitsandbytes, compressed_tensors, fp4, others
from weightsmith.schemes.accounted import accounted
from weightsmith.schemes.awq import awq
from weightsmith.schemes.awq_gemv import awq_gemv, awq_gemv_fast
from weightsmith.schemes.bitnet import bitnet
from weightsmith.schemes.formula import Fault
from weightsmith.schemes.fp8 import fp8
from weightsmith.schemes.gguf import gguf
from weightsmith.schemes.gptq import gptq
from weightsmith.schemes.mlx import mlx
from weightsmith.schemes.modelslim import modelslim
from weightsmith.schemes.packed_module import AS_IT_IS

if TYPE_CHECKING:
    from weightsmith.schemes.formula import Formula
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
    if found is None:
        return None
    turned = _turned(module, found.made)
    return replace(found, made=turned or accounted(found.made, module.parts))


def _turned(module: StoredModule, made: Formula | Fault) -> Fault | None:
    """What stands against a weight in another basis than the model's."""
    if isinstance(made, Fault) or not module.stated.turned_online:
        return None
    fact = "may stand in another basis than the model's: transform_config of its config turns activations at run time"
    return Fault(made.codes.name, fact, f"serve it with an engine that does the same; {AS_IT_IS}")
