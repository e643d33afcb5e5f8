"""MLX: codes in 32-bit words, lowest bits first, in groups of channels.

affine: weight U32 [N, K*bits/32], scales and biases [N, K/g] in floats. W = code * scale + bias.
mxfp4, mxfp8, nvfp4: weight U32, scales U8 [N, K/g], no biases; a code is E2M1 or E4M3, a scale E8M0 (groups of 32) or
E4M3 (nvfp4, groups of 16). W = code * scale.
Sources: mlx, `mlx.core.quantize` (its table of modes) and backend/cpu/quantized.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.layout import row_major
from weightsmith.schemes.formula import Fault, Fields, Formula, Numbers, Operand
from weightsmith.schemes.packed_module import AS_IT_IS, PackedWeight

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.packed_module import StoredModule

_GROUPS = (64, 128, 32)
_WORDS = ("U32", "I32")


@dataclass(frozen=True, slots=True)
class _Mode:
    """A mode of floats: words for each scale, channels for each scale, and what the bytes of a scale are."""

    words: int
    group: int
    scale: str


_FLOATS = (_Mode(4, 32, "F8_E8M0"), _Mode(8, 32, "F8_E8M0"), _Mode(2, 16, "F8_E4M3"))


def mlx(module: StoredModule) -> PackedWeight | None:
    weight, scales = module.matrix("weight"), module.matrix("scales")
    if weight is None or scales is None or weight.dtype not in _WORDS:
        return None
    if scales.dtype == "U8" and "biases" not in module.parts:
        return _floats(weight, scales)
    return _affine(module, weight, scales)


def _affine(module: StoredModule, weight: Tensor, scales: Tensor) -> PackedWeight | None:
    stated = module.stated.group_of(module.name)
    groups, biases = scales.shape[-1], module.matrix("biases")
    sizes = [stated] if stated else [size for size in _GROUPS if size * groups in module.known_widths]
    group = next((size for size in (*sizes, *_GROUPS) if size is not None), 64)
    inputs = group * groups
    bits, left = divmod(32 * weight.shape[-1], inputs)
    if left or not 1 <= bits <= 8:
        return None
    made: Formula | Fault
    if biases is None or biases.shape != scales.shape or weight.shape[:-1] != scales.shape[:-1]:
        fact = "is MLX's, in a mode without biases or with others than its scales"
        made = Fault(weight.name, fact, AS_IT_IS)
    elif not stated and len(sizes) != 1:
        fact = "is MLX's, and no config says in which groups"
        made = Fault(weight.name, fact, f"set quantization; {AS_IT_IS}")
    else:
        made = Formula(
            weight,
            Fields(bits, inputs),
            scales=(Operand(scales, Numbers(scales.dtype), group),),
            shift=Operand(biases, Numbers(biases.dtype), group),
        )
    return PackedWeight("mlx", (*weight.shape[:-1], inputs), bits, group, made, symmetric=False)


def _floats(weight: Tensor, scales: Tensor) -> PackedWeight | None:
    """The modes without biases: how many words go with a scale tells which one it is."""
    if weight.shape[:-1] != scales.shape[:-1]:
        return None
    words, left = divmod(weight.shape[-1], scales.shape[-1])
    mode = next((mode for mode in _FLOATS if mode.words == words), None)
    if mode is None or left:
        return None
    inputs = mode.group * scales.shape[-1]
    shape = (*weight.shape[:-1], inputs)
    bits = 32 * mode.words // mode.group
    operand = Operand(scales, Numbers(mode.scale), mode.group)
    if bits == 4:
        made = Formula(weight, Fields(4, inputs, fp4=True), scales=(operand,))
    else:
        made = Formula(_bytes_of(weight, shape), Numbers("F8_E4M3"), scales=(operand,))
    return PackedWeight("mlx", shape, bits, mode.group, made)


def _bytes_of(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The bytes of the words as 8-bit floats."""
    return replace(weight, dtype="F8_E4M3", shape=shape, strides=row_major(shape), offset=4 * weight.offset)
