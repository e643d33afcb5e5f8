"""AutoGPTQ and GPTQModel: integers packed along the inputs, in 32-bit words; a code may cross from one into the next.

qweight I32 [K*bits/32, N], scales [K/g, N], qzeros I32 [K/g, N*bits/32], g_idx [K], the group of each input channel.
W = (code - zero) * scale. Before `checkpoint_format` gptq_v2, what is stored is zero - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.schemes.formula import (
    Fault,
    Fields,
    Formula,
    Numbers,
    Operand,
    one_row,
    packed_down,
    transposed,
)
from weightsmith.schemes.packed_module import AS_IT_IS, PACKED_BITS, PER_ROW, PackedWeight

if TYPE_CHECKING:
    from weightsmith.schemes.packed_module import StoredModule


@dataclass(frozen=True, slots=True)
class WordsWithZeros:
    """The sizes of qweight, scales and qzeros. bits: per weight, as the zero points tell."""

    rows: int
    columns: int
    groups: int
    outputs: int
    zeros: int

    @property
    def bits(self) -> int:
        return 32 * self.zeros // self.outputs


def words_with_zeros(module: StoredModule) -> WordsWithZeros | None:
    """The sizes of a module that holds qweight, scales and qzeros, which AutoGPTQ and AutoAWQ both write."""
    words, scales, points = (module.matrix(part) for part in ("qweight", "scales", "qzeros"))
    if words is None or scales is None or points is None:
        return None
    rows, columns = words.shape[-2:]
    groups, outputs = scales.shape[-2:]
    if rows == groups and "g_idx" not in module.parts:
        return None  # a row of scales for each row of words: AutoAWQ's gemv
    sizes = WordsWithZeros(rows, columns, groups, outputs, points.shape[-1])
    return sizes if sizes.bits in PACKED_BITS else None


def group_width(module: StoredModule, inputs: int, groups: int) -> int:
    """Channels of a group; the last group may be shorter, and then the config alone tells how wide the others are."""
    stated = (size for size in module.stated.groups if -(-inputs // size) == groups)
    return next(stated, -(-inputs // groups))


def contradiction(module: StoredModule, method: str, bits: int, group: int) -> Fault | None:
    """What the config says of the two methods that look alike, or of their bits and groups, and the tensors do not."""
    stated, words = module.stated, module.parts["qweight"]
    if stated.method in {"awq", "gptq"} - {method}:
        fact = f"is packed as {method.upper()} does it, and the config says {stated.method}"
        return Fault(words.name, fact, f'set quant_method to "{method}" if that is so; {AS_IT_IS}')
    if stated.bits and bits not in stated.bits:
        said = ", ".join(map(str, sorted(stated.bits)))
        return Fault(
            words.name, f"holds {bits} bits, and the config says {said}", f"correct `bits`; {AS_IT_IS}"
        )
    if stated.groups and group > 0 and group not in stated.groups:
        said = ", ".join(map(str, stated.groups))
        fact = f"has groups of {group} channels, and the config says {said}"
        return Fault(words.name, fact, f"correct `group_size`; {AS_IT_IS}")
    return None


def gptq(module: StoredModule) -> PackedWeight | None:
    sizes = words_with_zeros(module)
    if sizes is None or sizes.columns != sizes.outputs:
        return None
    order = module.parts.get("g_idx")
    inputs = 32 * sizes.rows // sizes.bits
    # Some writers leave an empty order where the channels are not reordered.
    if order is not None and len(order.shape) == 1 and order.elements:
        inputs = order.elements
    bits = 32 * sizes.rows // inputs
    if bits not in PACKED_BITS:
        return None
    width = group_width(module, inputs, sizes.groups)
    group = PER_ROW if sizes.groups == 1 else width
    made = contradiction(module, "gptq", bits, group) or _formula(module, sizes, inputs, bits)
    sym = module.stated.section.get("sym")
    symmetric = sym if isinstance(sym, bool) else None
    return PackedWeight("gptq", (sizes.outputs, inputs), bits, group, made, symmetric)


def _formula(module: StoredModule, sizes: WordsWithZeros, inputs: int, bits: int) -> Formula | Fault:
    words, scales, zeros = (module.parts[part] for part in ("qweight", "scales", "qzeros"))
    order = module.parts.get("g_idx")
    matrices = all(len(tensor.shape) == 2 for tensor in (words, scales, zeros))
    told = (sizes.rows, zeros.shape) == (
        -(-inputs * bits // 32),
        (sizes.groups, -(-sizes.outputs * bits // 32)),
    )
    if not matrices or not told:
        fact = f"of {list(words.shape)} does not go with zero points of {list(zeros.shape)} at {bits} bits"
        return Fault(words.name, fact, AS_IT_IS)
    width = group_width(module, inputs, sizes.groups)
    offset = 0 if str(module.stated.section.get("checkpoint_format", "gptq")).lower() == "gptq_v2" else -1
    return Formula(
        codes=transposed(words),
        layout=Fields(bits, inputs),
        scales=(Operand(transposed(scales), Numbers(scales.dtype), width),),
        zeros=packed_down(transposed(zeros), bits, offset, width, dense=True),
        order=one_row(order, Numbers(order.dtype), sizes.outputs)
        if order is not None and order.elements
        else None,
    )
