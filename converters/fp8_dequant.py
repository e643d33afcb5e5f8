"""fp8-dequant: 8-bit float weights with a scale for each block (DeepSeek: 128 x 128), or for all, to bf16.

W = q * weight_scale_inv of its block (DeepSeek-V3, inference/kernel.py, weight_dequant_kernel; transformers,
integrations/finegrained_fp8.py, Fp8Dequantize): despite its name the number is multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.errors import ConversionRefused

from .plain import plain_recipe
from .scaled import Block, dequantize_step, partner, quantization, unquantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.protocol import Evidence, Recipe, Step

_DTYPES = ("F8_E4M3", "F8_E5M2")
_SUFFIXES = ("_scale_inv", "_scale")
_DEFAULT_BLOCK = Block(128, 128)
_ACTIVATIONS = ("activation_scale", "input_scale", "act_scale", "k_scale", "v_scale")


@dataclass(frozen=True, slots=True)
class Fp8Dequant:
    """A weight without its scale is refused by name: left as it is, it would be off by orders of magnitude."""

    name: str = "fp8-dequant"

    @property
    def options(self) -> Mapping[str, str]:
        return {}

    def recognise(self, evidence: Evidence) -> str | None:
        found = _weights(evidence.checkpoint)
        method = quantization(evidence.config).get("quant_method")
        tensors = evidence.checkpoint.tensors
        # Without a word of the config, 8-bit floats that have no scales at all are plain numbers.
        scaled = any(name + suffix in tensors for name in found for suffix in _SUFFIXES)
        if not found or not (method in ("fp8", "fbgemm_fp8") or (method is None and scaled)):
            return None
        return f"{found[0]} and {len(found) - 1} more are 8-bit floats"

    def plan(self, evidence: Evidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        checkpoint, target = evidence.checkpoint, dtype or "BF16"
        weights = _weights(checkpoint)
        if not weights:
            raise ConversionRefused(checkpoint.path, "has no 8-bit float weights", "use `plain` to copy it")
        stated = _stated_block(quantization(evidence.config))
        made: dict[str, tuple[Step, ...]] = {}
        folded: dict[str, str] = {}
        for name in weights:
            scale = partner(checkpoint, name, *(name + suffix for suffix in _SUFFIXES))
            made[name] = (dequantize_step(checkpoint.tensors[name], name, scale, target, stated),)
            folded[scale.name] = f"folded into {name}"
        for name in checkpoint.tensors:
            if name.split(".")[-1] in _ACTIVATIONS:
                folded[name] = "it scales activations or the key/value cache, which nobody quantizes now"
        plain = plain_recipe(evidence, dtype, made, folded)
        return replace(plain, config={**plain.config, **unquantized(evidence, target)})


def _weights(checkpoint: Checkpoint) -> list[str]:
    return [n for n, t in checkpoint.tensors.items() if t.dtype in _DTYPES and len(t.shape) >= 2]


def _stated_block(stated: Mapping[str, object]) -> Block:
    size = stated.get("weight_block_size")
    if isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
        return Block(*size)
    return _DEFAULT_BLOCK
