"""ModelSlim, Ascend's quantizer (AscendV1): rows of int8 beside scales and offsets, and what the NPU's kernels ask for.

W8A8, W8A8_MIX, W8A8_DYNAMIC, W8A16: weight I8 [N, K], weight_scale and weight_offset [N, 1];
W = (code - weight_offset) * weight_scale. In groups: [N, K/g]. W4A4_DYNAMIC: the same, each code of 4 bits in an I8 of
its own. W8A8FP8_DYNAMIC, which msmodelslim calls WFP8AFP8_DYNAMIC: the same in F8_E4M3.
W8A8 and W8A8S may come without weight_scale: deq_scale is input_scale * weight_scale, in F32, or its bits in I64.
quant_bias I32 [N] is what the kernel adds to its integers: round(bias / deq_scale - input_offset * sum of the codes);
where the bias has a tensor of its own it is written there, too (msmodelslim, save/ascendv1.py, on_w8a8_static).
W4A8_DYNAMIC: two levels, weight_scale_second [N, K/g] is multiplied, too; offsets are zero. Since version 1.0.0 weight
is I8 [N/2, K], of which the low half is row 2r and the high half row 2r + 1, both in two's complement.
MXFP8 and MXFP4 modes are stored as others store them: see `fp8` and `fp4`.
FlatQuant's weights (left_trans, right_trans) stand in another basis than the model's; W8A8SC's are compressed.

Sources: vllm-ascend 0.18, 0.23 and 0.26, vllm_ascend/quantization/methods and _310p/quantization/methods; msmodelslim
26.1.0, core/quant_service/modelslim_v1/save/ascendv1.py and pytorch/llm_ptq/llm_ptq_tools/save/complex_quantifier.py.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from weightsmith.schemes.formula import (
    Fan,
    Fault,
    Formula,
    KernelBias,
    Numbers,
    Operand,
    flat_grid,
    one_row,
    regrouped,
)
from weightsmith.schemes.packed_module import AS_IT_IS, DAMAGED, PER_ROW, PackedWeight
from weightsmith.schemes.scales import scale_dtype, spread
from weightsmith.schemes.stated import DESCRIPTION_FILE

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.formula import Layout
    from weightsmith.schemes.packed_module import Shape, StoredModule

# What only ModelSlim writes beside a weight.
_OWN = ("weight_offset", "deq_scale", "quant_bias", "weight_scale_second", "scale_bias", "left_trans")
_CODES = ("I8", "F8_E4M3")
# The modes that some vllm-ascend from 0.18 to 0.26 registers (registry.py, register_scheme; the last two on a 310P).
# Which version has which is for `weightsmith fits`.
MODES = frozenset(
    {
        "W8A8", "W8A8_DYNAMIC", "W8A8_MIX", "W8A16", "W4A16", "W4A8_DYNAMIC", "W4A4_DYNAMIC", "W8A8_MXFP8",
        "W4A4_FLATQUANT_DYNAMIC", "FAKQuant", "INT8_DYNAMIC", "C8", "FLOAT", "W8A8FP8_DYNAMIC", "W4A8_MXFP",
        "W4A4_MXFP4", "W4A16_MXFP4", "W4A4_MXFP4_FLATQUANT", "FP8", "W8A8S", "W8A8SC",
    }
)  # fmt: skip
# What msmodelslim writes under a name that no vllm-ascend registers.
_OTHER_NAMES = frozenset({"WFP8AFP8_DYNAMIC"})
_FLAT = ("left_trans", "right_trans")
_ANEW = f"`--converter modelslim --set description=anew` corrects the description; {AS_IT_IS}"


def modelslim(module: StoredModule) -> PackedWeight | None:
    compressed = _compressed(module)
    if compressed is not None:
        return compressed
    weight = module.matrix("weight")
    if weight is None or weight.dtype not in (*_CODES, "U8"):
        return None
    if not any(part in module.parts for part in _OWN) and _described(module) in (None, "FLOAT"):
        return None
    if weight.dtype != "I8" and not {"weight_offset", *_FLAT} & module.parts.keys():
        return None
    scale = module.scale("weight_scale", "deq_scale")
    if scale is None:
        return None
    twice = weight.dtype == "I8" and scale.shape[:1] == (2 * weight.shape[0],) and len(weight.shape) == 2
    shape = (2 * weight.shape[0], *weight.shape[1:]) if twice else weight.shape
    bits = 4 if twice or _of_four_bits(module) else 8
    found = _made(module, weight, shape, twice=twice)
    group = PER_ROW
    if isinstance(found, Formula):
        width = min(scale.width for scale in found.scales)
        group = width if any(flat_grid(s.tensor)[1] > 1 for s in found.operands) else PER_ROW
    symmetric = True if "weight_offset" not in module.parts else None
    return PackedWeight("modelslim-w4" if twice else "modelslim", shape, bits, group, found, symmetric)


def _compressed(module: StoredModule) -> PackedWeight | None:
    """What a 310P's own kernel unpacks: a stream of bytes, beside `index` and `info`."""
    weight = module.parts.get("weight")
    if weight is None or weight.dtype != "I8" or not {"index", "info", "deq_scale"} <= module.parts.keys():
        return None
    fact = "is ModelSlim's W8A8SC, compressed for the kernel of a 310P"
    fault = Fault(weight.name, fact, f"get the checkpoint that it was made of; {AS_IT_IS}")
    return PackedWeight("modelslim", None, 8, PER_ROW, fault)


def _of_four_bits(module: StoredModule) -> bool:
    """Whether each code has four bits, though it has a byte of its own."""
    return "weight_scale_second" in module.parts or str(_described(module)).startswith("W4")


def _described(module: StoredModule) -> object:
    """The mode that the description gives the weight."""
    return module.stated.description.get(f"{module.name}.weight")


def _made(module: StoredModule, weight: Tensor, shape: Shape, *, twice: bool) -> Formula | Fault:
    fault = _fault(module, weight, twice=twice)
    if fault is not None:
        return fault
    layout: Layout = Fan(4, (0, 1), signed=True) if twice else Numbers(weight.dtype)
    fan = 2 if twice else 1
    scales = _scales(module, weight, shape, fan)
    if isinstance(scales, Fault):
        return scales
    first, *others = scales
    divisors: tuple[Operand, ...] = ()
    if "weight_scale" not in module.parts:
        divisors = tuple(others)
        others = []
    zeros = _zeros(module, first, fan)
    if isinstance(zeros, Fault):
        return zeros
    bias = _kernel_bias(module, prod(shape[:-1]))
    if isinstance(bias, Fault):
        return bias
    return Formula(weight, layout, (first, *others), divisors, zeros=zeros, kernel_bias=bias)


def _fault(module: StoredModule, weight: Tensor, *, twice: bool) -> Fault | None:
    mode = _described(module)
    flat = [part for part in _FLAT if part in module.parts]
    if flat or (isinstance(mode, str) and "FLATQUANT" in mode):
        return Fault(weight.name, f"is ModelSlim's FlatQuant ({mode or flat[0]}), in another basis than the model's",
                     f"vllm-ascend loads it as it is: {AS_IT_IS}")  # fmt: skip
    if mode == "FLOAT":
        fact = f"says FLOAT of {weight.name}, which is {weight.dtype} with scales beside it"
        return Fault(DESCRIPTION_FILE, fact, _ANEW)
    if mode == "W4A16" and module.stated.description.get("version") == "1.0.0" and not twice:
        fact = "is ModelSlim's W4A16 in rows, two codes of a row in a byte"
        return Fault(weight.name, fact, f"vllm-ascend does not load it, either: {AS_IT_IS}")
    if isinstance(mode, str) and mode not in MODES | _OTHER_NAMES:
        fact = f"says {mode} of {weight.name}, which is no ModelSlim mode that vllm-ascend 0.18 to 0.26 knows"
        return Fault(DESCRIPTION_FILE, fact, _ANEW)
    return None


def _scales(module: StoredModule, weight: Tensor, shape: Shape, fan: int) -> tuple[Operand, ...] | Fault:
    """The scales of one or two levels; of W8A8 without weight_scale, deq_scale and what it is divided by."""
    found: list[Operand] = []
    names = (
        ("weight_scale", "weight_scale_second")
        if "weight_scale" in module.parts
        else ("deq_scale", "input_scale")
    )
    for name in names:
        tensor = module.parts.get(name)
        if tensor is None:
            continue
        operand = _operand(weight, shape, _as_floats(tensor), fan)
        if isinstance(operand, Fault):
            return operand
        found.append(operand)
    if names[0] == "deq_scale" and len(found) < 2:
        fact = "has no weight_scale beside it, and no input_scale by which deq_scale could be divided"
        return Fault(weight.name, fact, DAMAGED)
    return tuple(found)


def _operand(weight: Tensor, shape: Shape, scale: Tensor, fan: int) -> Operand | Fault:
    if len(scale.shape) == 2 and scale.shape[0] == prod(shape[:-1]) and scale.shape[1] > 1:
        groups = scale.shape[1]
        if shape[-1] % groups:
            fact = f"its shape {list(scale.shape)} does not divide {weight.name} of {list(shape)} into equal groups"
            return Fault(scale.name, fact, AS_IT_IS)
        return Operand(scale, Numbers(scale_dtype(scale)), shape[-1] // groups, rows=fan)
    found = spread(weight.name, shape, scale)
    if isinstance(found, Fault):
        return found
    operand = replace(found.operand, width=shape[-1])
    if flat_grid(operand.tensor)[0] == 1:
        return one_row(scale, operand.layout, prod(weight.shape[:-1]))
    return replace(operand, rows=fan)


def _as_floats(scale: Tensor) -> Tensor:
    """deq_scale may hold the bits of an F32 in an I64: the lower half of each."""
    if scale.dtype != "I64":
        return scale
    return replace(scale, dtype="F32", shape=(scale.elements, 1), strides=(2, 1), offset=2 * scale.offset)


def _zeros(module: StoredModule, scale: Operand, fan: int) -> Operand | Fault | None:
    """The offsets, one beside each scale. Of two levels they have no definition: see `nil` of a formula."""
    offset = module.parts.get("weight_offset")
    if offset is None or "weight_scale_second" in module.parts:
        return None
    rows, columns = flat_grid(scale.tensor)
    if offset.elements != rows * columns or offset.dtype not in ("F32", "F16", "BF16", "I8"):
        fact = f"is {offset.dtype} {list(offset.shape)}, which does not go with {scale.tensor.name}"
        return Fault(offset.name, fact, AS_IT_IS)
    return replace(scale, tensor=regrouped(offset, rows, columns), layout=Numbers(offset.dtype))


def _kernel_bias(module: StoredModule, rows: int) -> KernelBias | Fault | None:
    """What the kernel adds, where the bias has no tensor of its own."""
    added, offset = module.parts.get("quant_bias"), module.parts.get("input_offset")
    if added is None or "bias" in module.parts:
        return None
    if added.elements != rows or added.dtype != "I32" or (offset is not None and offset.elements != 1):
        fact = f"is {added.dtype} {list(added.shape)}: not what a kernel adds to each row"
        return Fault(added.name, fact, AS_IT_IS)
    each = Operand(regrouped(added, rows, 1), Numbers("I32"))
    return KernelBias(each, None if offset is None else one_row(offset, Numbers(offset.dtype), rows))
