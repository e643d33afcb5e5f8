"""4-bit floats (E2M1), two in a byte, the even channel in the low half: MXFP4 and NVFP4 of several libraries.

MXFP4: a scale 2**(b - 127) for 32 channels. Quark and ModelSlim: weight U8 [N, K/2], weight_scale U8 [N, K/32];
DeepSeek-V4: weight I8, scale F8_E8M0; compressed-tensors: weight_packed. gpt-oss: blocks U8 [E, N, K/32, 16], scales U8
[E, N, K/32], and the plain experts are [E, K, N].
NVFP4: an E4M3 scale for 16 channels, and one in F32 for all: W = code * (weight_scale * weight_scale_2) (modelopt), or
code * (weight_scale / weight_global_scale) (compressed-tensors).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault, Fields, Formula, Numbers, Operand, regrouped
from weightsmith.schemes.packed_module import AS_IT_IS, PackedWeight, missing
from weightsmith.schemes.scales import spread
from weightsmith.schemes.stated import ScaleBlock

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.packed_module import Method, StoredModule

_BYTES = ("U8", "I8")
_EXPONENTS = ("U8", "F8_E8M0")
_MX, _NV = 32, 16
# Bytes of one of gpt-oss's groups of 32.
_GROUP_BYTES = 16


def pairs(module: StoredModule) -> PackedWeight | None:
    """MXFP4 and NVFP4 of linear layers, or of experts that are stacked."""
    compressed = "weight_packed" in module.parts
    packed = module.matrix("weight_packed" if compressed else "weight")
    scale = module.scale("weight_scale", "weight_scale_inv", "scale")
    if packed is None or scale is None or packed.dtype not in _BYTES:
        return None
    shape = (*packed.shape[:-1], 2 * packed.shape[-1])
    if scale.dtype in _EXPONENTS and scale.shape[-1:] == (-(-shape[-1] // _MX),) and len(scale.shape) > 1:
        method: Method = "compressed-tensors-mxfp4" if compressed else "mxfp4-pairs"
        return PackedWeight(method, shape, 4, _MX, _formula(packed, shape, scale, _MX))
    if scale.dtype == "F8_E4M3" and scale.shape[-1:] == (-(-shape[-1] // _NV),) and len(scale.shape) > 1:
        method = "compressed-tensors-nvfp4" if compressed else "nvfp4"
        return PackedWeight(method, shape, 4, _NV, _of_two_levels(module, packed, shape, scale))
    return None


def _formula(packed: Tensor, shape: tuple[int, ...], scale: Tensor, group: int) -> Formula | Fault:
    found = spread(packed.name, shape, scale, ScaleBlock(1, group))
    if isinstance(found, Fault):
        return found
    return Formula(packed, Fields(4, shape[-1], fp4=True), scales=(found.operand,))


def _of_two_levels(
    module: StoredModule, packed: Tensor, shape: tuple[int, ...], scale: Tensor
) -> Formula | Fault:
    names = ("weight_global_scale",) if "weight_packed" in module.parts else ("weight_scale_2",)
    whole = module.scale(*names)
    if whole is None:
        part = "weight_packed" if "weight_packed" in module.parts else "weight"
        return missing(module, part, *names)
    made = _formula(packed, shape, scale, _NV)
    second = spread(packed.name, shape, whole)
    if isinstance(made, Fault) or isinstance(second, Fault):
        return made if isinstance(made, Fault) else second if isinstance(second, Fault) else made
    if "weight_packed" in module.parts:
        return Formula(made.codes, made.layout, made.scales, divisors=(second.operand,))
    return Formula(made.codes, made.layout, (*made.scales, second.operand))


def gpt_oss(module: StoredModule) -> PackedWeight | None:
    """blocks U8 [E, N, K/32, 16], scales U8 [E, N, K/32]; the weight is [E, K, N]."""
    blocks = module.matrix("blocks")
    if blocks is None or len(blocks.shape) != 4:
        return None
    experts, outputs, groups, width = blocks.shape
    return PackedWeight("mxfp4", (experts, _MX * groups, outputs), 4, _MX, _turned(module, blocks, width))


def _turned(module: StoredModule, blocks: Tensor, width: int) -> Formula | Fault:
    scales = module.parts.get("scales")
    if scales is None:
        return Fault(blocks.name, f"has no scale beside it: {module.plain}_scales is missing", AS_IT_IS)
    experts, outputs, groups, _ = blocks.shape
    whole = blocks.dtype == "U8" and width == _GROUP_BYTES and blocks.contiguous
    if not whole or scales.dtype != "U8" or scales.shape != blocks.shape[:-1]:
        return Fault(
            scales.name, f"is {scales.dtype} {list(scales.shape)}, not a scale for each block", AS_IT_IS
        )
    codes = regrouped(blocks, experts * outputs, groups * width)
    operand = Operand(scales, Numbers("F8_E8M0"), _MX)
    return Formula(codes, Fields(4, _MX * groups, fp4=True), scales=(operand,), turned=outputs)
