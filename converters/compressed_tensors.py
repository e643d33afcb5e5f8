"""compressed-tensors-dequant: integer (packed or not) and 8-bit float weights of compressed-tensors to bf16.

Layouts: compressed-tensors 0.17, compressors/pack_quantized and naive_quantized.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from weightsmith.convert.protocol import Beside, Output, Recipe, Step, whole
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.dequantize import CODES
from weightsmith.schemes.packed_words import WORD_BITS
from weightsmith.values.blocks import grid

from .plain import plain_recipe
from .scaled import (
    DAMAGED,
    Block,
    Dequantize,
    Zeros,
    block_of,
    dequantize_step,
    partner,
    quantization,
    small,
    unquantized,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.convert.protocol import Evidence

PACKED = "weight_packed"
FORMATS_READ = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized")
# Scales of activations and key/value caches: an engine's business, and meaningless beside plain weights.
_ACTIVATIONS = ("input_scale", "output_scale", "input_zero_point", "output_zero_point", "k_scale", "v_scale",
                "input_global_scale")  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompressedTensors:
    """Every weight becomes (code - zero point) * scale, in the library's own arithmetic."""

    name: str = "compressed-tensors-dequant"

    @property
    def options(self) -> Mapping[str, str]:
        return {}

    def recognise(self, evidence: Evidence) -> str | None:
        from .unpack import is_ternary

        stated = quantization(evidence.config)
        if stated.get("quant_method") != "compressed-tensors" or is_ternary(evidence):
            return None
        return f"its quantization_config names compressed-tensors, format {stated.get('format')}"

    def plan(self, evidence: Evidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        checkpoint, target = evidence.checkpoint, dtype or "BF16"
        stated = quantization(evidence.config)
        _check_format(evidence, stated)
        block = _stated_block(stated)
        made: dict[str, tuple[Step, ...]] = {}
        folded: dict[str, str] = {}
        for name, tensor in checkpoint.tensors.items():
            if name.endswith(PACKED):
                step, used = packed_step(checkpoint, name, bits_of(stated), target)
            elif name.endswith(".weight") and tensor.dtype in CODES:
                step, used = _plain_codes(checkpoint, tensor, block, target)
            else:
                continue
            made[name] = (step,)
            folded |= dict.fromkeys(used, f"folded into {step.outputs[0].name}")
        if not made:
            raise ConversionRefused(
                checkpoint.path, "has no weight in a compressed-tensors layout", "use `plain` to copy it"
            )
        for name in checkpoint.tensors:
            if name.split(".")[-1] in _ACTIVATIONS:
                folded[name] = "it scales activations or the key/value cache, which nobody quantizes now"
        plain = plain_recipe(evidence, dtype, made, folded)
        return replace(plain, config={**plain.config, **unquantized(evidence, target)})


def packed_step(
    checkpoint: Checkpoint, name: str, bits: int | None, target: str, ternary: bool = False
) -> tuple[Step, list[str]]:
    """The step for a `weight_packed` tensor, and the names of the tensors that it uses up. Raises ConversionRefused."""
    tensor = checkpoint.tensors[name]
    module = name.removesuffix(PACKED)
    if tensor.dtype not in ("I32", "U32") or len(tensor.shape) < 2 or bits is None:
        raise ConversionRefused(
            name,
            f"is {tensor.dtype} {list(tensor.shape)}: no packed words of a known number of bits",
            "only integers packed in 32-bit words are read, with num_bits in config.json",
        )
    if f"{module}weight_g_idx" in checkpoint.tensors:
        raise ConversionRefused(
            f"{module}weight_g_idx",
            "permutes the channels (activation ordering)",
            "no converter undoes it yet",
        )
    scale = partner(checkpoint, name, f"{module}weight_scale")
    shape = _shape(checkpoint, name, f"{module}weight_shape", bits)
    rows, cols = prod(shape[:-1]), shape[-1]
    block = block_of(name, (rows, cols), scale, None)
    used = [scale.name, f"{module}weight_shape"]
    zeros, beside = _zero_points(checkpoint, f"{module}weight_zero_point", bits, block, rows)
    used += [companion.tensor.name for companion in beside]
    kernel = Dequantize(
        name, scale.name, "packed", bits, cols, block.cols, scale.dtype, target, zeros, ternary
    )
    output = Output(f"{module}weight", target, shape)
    return Step((output,), whole(tensor, rows), kernel, (Beside(scale, block.rows), *beside)), used


def _plain_codes(
    checkpoint: Checkpoint, tensor: Tensor, stated: Block | None, target: str
) -> tuple[Step, list[str]]:
    name = tensor.name
    scale = partner(checkpoint, name, f"{name}_scale")
    step = dequantize_step(tensor, name, scale, target, stated)
    points = checkpoint.tensors.get(f"{name}_zero_point")
    if points is None:
        return step, [scale.name]
    if points.dtype != "I8" or grid(points) != grid(scale) or not isinstance(step.kernel, Dequantize):
        raise ConversionRefused(
            points.name, f"is {points.dtype} {list(points.shape)}, unlike the scales", DAMAGED
        )
    kernel = replace(step.kernel, zeros=Zeros(packed=False))
    beside = (*step.beside, Beside(points, step.beside[0].each))
    return replace(step, kernel=kernel, beside=beside), [scale.name, points.name]


def _zero_points(
    checkpoint: Checkpoint, name: str, bits: int, block: Block, rows: int
) -> tuple[Zeros | None, tuple[Beside, ...]]:
    """Zero points are packed along the rows for groups and channels, and stored as they are otherwise."""
    points = checkpoint.tensors.get(name)
    if points is None:
        return None, ()
    if points.dtype in ("I32", "U32") and block.rows == 1 and len(points.shape) == 2:
        return Zeros(packed=True), (Beside(points, WORD_BITS // bits),)
    if points.dtype == "I8":
        return Zeros(packed=False), (Beside(points, block.rows),)
    raise ConversionRefused(name, f"is {points.dtype} {list(points.shape)}: no zero points", DAMAGED)


def _shape(checkpoint: Checkpoint, packed: str, name: str, bits: int) -> tuple[int, ...]:
    """The weight's own shape, which the packed words must be able to hold."""
    if name not in checkpoint.tensors:
        raise ConversionRefused(packed, f"{name} is missing beside it", DAMAGED)
    shape = tuple(small(checkpoint, checkpoint.tensors[name]))
    words = checkpoint.tensors[packed].shape
    per_word = WORD_BITS // bits
    if len(shape) != len(words) or shape[:-1] != words[:-1] or -(-shape[-1] // per_word) != words[-1]:
        raise ConversionRefused(
            name, f"says {list(shape)}, which {bits}-bit words of {list(words)} do not hold", DAMAGED
        )
    return shape


def _check_format(evidence: Evidence, stated: Mapping[str, object]) -> None:
    formats = {stated.get("format"), *(group.get("format") for group in _groups(stated))} - {None}
    strange = sorted(str(name) for name in formats if name not in FORMATS_READ)
    if strange:
        raise ConversionRefused(
            evidence.checkpoint.path,
            f"is in compressed-tensors' format {', '.join(strange)}",
            f"the formats that are read: {', '.join(FORMATS_READ)}",
        )


def bits_of(stated: Mapping[str, object]) -> int | None:
    """num_bits, when all groups of the config agree on one between 1 and 8."""
    found = {_weights(group).get("num_bits") for group in _groups(stated)}
    bits = found.pop() if len(found) == 1 else None
    return bits if isinstance(bits, int) and 1 <= bits <= 8 else None


def _stated_block(stated: Mapping[str, object]) -> Block | None:
    for group in _groups(stated):
        structure = _weights(group).get("block_structure")
        if (
            isinstance(structure, list)
            and len(structure) == 2
            and all(type(n) is int and n > 0 for n in structure)
        ):
            return Block(*structure)
    return None


def _groups(stated: Mapping[str, object]) -> Iterator[dict[str, object]]:
    groups = stated.get("config_groups")
    if isinstance(groups, dict):
        yield from (group for group in groups.values() if isinstance(group, dict))


def _weights(group: Mapping[str, object]) -> dict[str, object]:
    weights = group.get("weights")
    return weights if isinstance(weights, dict) else {}
