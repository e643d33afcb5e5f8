"""Quantized layouts: recognises them from names and dtypes and undoes them, so that shapes speak of the model again.

Sources of the layouts: the loaders of transformers, vLLM, AutoGPTQ, AutoAWQ, bitsandbytes and compressed-tensors.
N is the module's output width, K its input width, g the number of input channels that share a scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from weightsmith.schemes.bitsandbytes import four_bit_shape, small_tensor_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint.table import Checkpoint, Tensor

Shape = tuple[int, ...]
Parts = dict[str, "Tensor"]  # the tensors of one module by their last name

# Last names that give a packed module away; none of them is a parameter of an unpacked model.
MARKERS = frozenset(
    {
        "weight_packed", "weight_scale", "weight_scale_inv", "weight_shape", "weight_zero_point", "weight_g_idx",
        "weight_global_scale", "input_global_scale", "input_scale", "input_zero_point", "input_offset",
        "weight_offset", "deq_scale", "quant_bias", "qweight", "qzeros", "scales", "g_idx", "SCB", "weight_format",
        "absmax", "quant_map", "nested_absmax", "nested_quant_map", "k_scale", "v_scale", "q_scale", "activation_scale",
    }
)  # fmt: skip
# Scales of a quantized KV cache: they say nothing about the model's shapes.
_CACHE_SCALES = frozenset({"k_scale", "v_scale", "q_scale"})
_ONE_LEVEL = (MARKERS - {"absmax", "quant_map", "nested_absmax", "nested_quant_map"}) | {"weight", "bias"}
_MXFP4 = ("_blocks", "_scales")
# What the packed numbers themselves are called. bitsandbytes, bitnet and 8-bit formats keep `weight` and change the
# dtype.
_NUMBERS = ("weight_packed", "qweight", "packed_weight")
_WHOLE_NUMBERS = frozenset({"U8", "I8", "I32", "U32", "I16", "U16"})
_SMALL_FLOATS = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2"})


@dataclass(frozen=True, slots=True)
class Module:
    """One packed module. shape: of the weight it stands for; None where the names do not tell.

    bits: per weight. group: input channels per scale, -1 for one scale per output row, 0 for one per tensor.
    """

    name: str
    method: str
    shape: Shape | None
    bits: int
    group: int
    parts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Packing:
    """tensors: the table with packed modules undone. modules: what was packed. plain: weights that were not."""

    tensors: Mapping[str, Tensor]
    modules: tuple[Module, ...]
    plain: tuple[str, ...]


def unpack(tensors: Mapping[str, Tensor], read: Callable[[Tensor], bytes | None]) -> Packing:
    """Undoes every packed module; a table without any comes back as it is.

    read: the bytes of a small tensor, for layouts that keep the shape in one.
    """
    packed, owners = _gather(tensors)
    if not packed:
        return Packing(tensors, (), ())
    known = _known_widths(tensors, packed, owners)
    result: dict[str, Tensor] = {}
    modules: list[Module] = []
    plain: list[str] = []
    done: set[str] = set()
    for name, tensor in tensors.items():
        owner = owners[name]
        if owner not in packed:
            result[name] = tensor
            if len(tensor.shape) == 2 and name.endswith(".weight"):
                plain.append(name)
            continue
        if owner in done:
            continue
        done.add(owner)
        parts = packed[owner]
        module = _module(owner, parts, known, read)
        if module is None:  # scales of something else: leave them to be reported
            result.update((t.name, t) for part, t in parts.items() if part not in _CACHE_SCALES)
            continue
        modules.append(module)
        if module.shape is not None:
            whole = owner if module.method == "mxfp4" else f"{owner}.weight"
            result[whole] = _as(parts.get("weight", tensor), whole, module.shape)
        if "bias" in parts:
            result[f"{owner}.bias"] = parts["bias"]
    return Packing(result, tuple(modules), tuple(plain))


def packed_modules(checkpoint: Checkpoint) -> tuple[Module, ...]:
    """What is packed in a checkpoint, as far as names and dtypes show its layout."""
    return unpack(checkpoint.tensors, small_tensor_reader(checkpoint)).modules


def packed_tensors(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The tensors of numbers that must be unpacked before use, whatever their layout; in file order."""
    return tuple(name for name, tensor in checkpoint.tensors.items() if _holds_packed(name, tensor))


def _holds_packed(name: str, tensor: Tensor) -> bool:
    last = name.rpartition(".")[2]
    if tensor.dtype in _WHOLE_NUMBERS and (last in _NUMBERS or last.endswith("_blocks")):
        return True
    small = tensor.dtype in _SMALL_FLOATS or tensor.dtype in _WHOLE_NUMBERS
    return small and name.endswith("weight") and len(tensor.shape) >= 2


def _gather(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Parts], Mapping[str, str]]:
    """(module → its tensors, for every module that has a marker; the module of every tensor)."""
    if not any(_marks(name, tensors) for name in tensors):
        return {}, {}
    split = {name: _split(name) for name in tensors}
    packed: dict[str, Parts] = {split[name][0]: {} for name in tensors if _marks(name, tensors)}
    for name, (owner, part) in split.items():
        if owner in packed:
            packed[owner][part] = tensors[name]
    return packed, {name: owner for name, (owner, _) in split.items()}


def _marks(name: str, tensors: Mapping[str, Tensor]) -> bool:
    last = name.rpartition(".")[2]
    if last in MARKERS or last.startswith("bitsandbytes__"):
        return True
    return last.endswith(_MXFP4) and name[: -len("_blocks")] + "_blocks" in tensors


def _split(name: str) -> tuple[str, str]:
    """(module, part) of a tensor: `a.b.weight` and `a.b.weight.absmax` belong to `a.b`."""
    owner, _, last = name.rpartition(".")
    if last in _ONE_LEVEL:
        return owner, last
    if last.endswith(_MXFP4):
        return name[: -len("_blocks")], last[-len("blocks") :]
    if last.startswith("bitsandbytes__"):
        owner = owner.removesuffix(".quant_state")
    return owner.removesuffix(".weight"), last


def _known_widths(
    tensors: Mapping[str, Tensor], packed: Mapping[str, Parts], owners: Mapping[str, str]
) -> frozenset[int]:
    """Every width that some unpacked axis has: the packed ones are among them."""
    found: set[int] = set()
    for name, tensor in tensors.items():
        if owners[name] not in packed:
            found.update(tensor.shape)
    for parts in packed.values():
        packed_weight = parts.get("weight_packed")
        if packed_weight is not None and packed_weight.shape:
            found.add(packed_weight.shape[0])
    return frozenset(found)


def _module(
    name: str, parts: Parts, known: frozenset[int], read: Callable[[Tensor], bytes | None]
) -> Module | None:
    for layout in _LAYOUTS:
        found = layout(parts, known)
        if found is not None:
            method, shape, bits, group = found
            return Module(name, method, shape, bits, group, frozenset(parts))
    if "absmax" in parts and "weight" in parts:
        state = next((t for part, t in parts.items() if part.startswith("bitsandbytes__")), None)
        whole = four_bit_shape(state, read) if state is not None else None
        method = "bitsandbytes-fp4" if "bitsandbytes__fp4" in parts else "bitsandbytes-nf4"
        return Module(name, method, whole, 4, 0, frozenset(parts))
    return None


_Found = tuple[str, Shape, int, int]


def _gptq(parts: Parts, known: frozenset[int]) -> _Found | None:
    """qweight I32 [K*bits/32, N], scales [K/g, N], qzeros [K/g, N*bits/32], g_idx [K]."""
    if not {"qweight", "scales", "qzeros"} <= set(parts):
        return None
    rows, columns = _two(parts["qweight"].shape)
    groups, outputs = _two(parts["scales"].shape)
    zeros = _two(parts["qzeros"].shape)[1]
    if not (rows and groups and outputs and zeros):
        return None
    bits = 32 * zeros // outputs
    if columns == outputs and bits:
        inputs = parts["g_idx"].shape[0] if "g_idx" in parts else 32 * rows // bits
        return "gptq", (outputs, inputs), 32 * rows // inputs, -1 if groups == 1 else -(-inputs // groups)
    if columns == zeros:  # AutoAWQ packs along the outputs
        return "awq", (outputs, rows), bits, -1 if groups == 1 else -(-rows // groups)
    return None


def _compressed(parts: Parts, known: frozenset[int]) -> _Found | None:
    """weight_packed I32 [N, K*bits/32] or U8 [N, K/2] (fp4), weight_scale [N, K/g]."""
    if "weight_packed" not in parts or "weight_scale" not in parts:
        return None
    rows, columns = _two(parts["weight_packed"].shape)
    scales = _two(parts["weight_scale"].shape)[1] or 1
    if parts["weight_packed"].dtype == "U8":
        return "compressed-tensors-nvfp4", (rows, 2 * columns), 4, 2 * columns // scales
    bits = next((b for b in (4, 8, 2) if columns * 32 // b in known), 4)
    inputs = columns * 32 // bits
    return "compressed-tensors-packed", (rows, inputs), bits, -1 if scales == 1 else inputs // scales


def _block_fp8(parts: Parts, known: frozenset[int]) -> _Found | None:
    """weight F8 [N, K], weight_scale_inv [N/128, K/128] rounded up."""
    if "weight_scale_inv" not in parts or "weight" not in parts:
        return None
    weight, scale = parts["weight"].shape, parts["weight_scale_inv"].shape
    return "fp8-block", weight, 8, block_size(weight[-1], scale[-1]) if scale else 0


@cache
def block_size(width: int, blocks: int) -> int:
    """The power of two that cuts `width` into `blocks`; the largest where several do; 0 where none does."""
    sizes = (2**power for power in range(12, 3, -1))
    return next((size for size in sizes if -(-width // size) == blocks), 0)


def _eight_bit(parts: Parts, known: frozenset[int]) -> _Found | None:
    """weight I8 or F8 [N, K] beside its scale: SCB [N], weight_scale [N, 1] or one number."""
    weight = parts.get("weight")
    if weight is None:
        return None
    if weight.dtype == "I8" and "SCB" in parts:
        return "bitsandbytes-int8", weight.shape, 8, -1
    scale = parts.get("weight_scale")
    if scale is None:
        return None
    rows = weight.shape[-2] if len(weight.shape) > 1 else 1
    group = 0 if scale.elements == 1 and rows > 1 else -1
    if weight.dtype == "U8" and group == 0 and len(weight.shape) == 2:  # four ternary values in a byte
        return "bitnet", (4 * weight.shape[0], weight.shape[1]), 2, 0
    if weight.dtype == "I8":
        method = (
            "modelslim" if "weight_offset" in parts or "deq_scale" in parts else "compressed-tensors-int8"
        )
        return method, weight.shape, 8, group
    if weight.dtype.startswith("F8"):
        return "compressed-tensors-fp8", weight.shape, 8, group
    return None


def _mxfp4(parts: Parts, known: frozenset[int]) -> _Found | None:
    """blocks U8 [E, N, K/32, 16], scales U8 [E, N, K/32]; the unpacked experts are [E, K, N] (gpt-oss)."""
    if not {"blocks", "scales"} <= set(parts) or len(parts["blocks"].shape) != 4:
        return None
    experts, outputs, groups, _ = parts["blocks"].shape
    return "mxfp4", (experts, 32 * groups, outputs), 4, 32


_LAYOUTS: tuple[Callable[[Parts, frozenset[int]], _Found | None], ...] = (
    _gptq,
    _compressed,
    _block_fp8,
    _eight_bit,
    _mxfp4,
)


def _two(shape: Shape) -> tuple[int, int]:
    """The last two axes; a missing one counts 0."""
    return (shape[-2] if len(shape) > 1 else 0, shape[-1]) if shape else (0, 0)


def _as(tensor: Tensor, name: str, shape: Shape) -> Tensor:
    if tensor.name == name and tensor.shape == shape:
        return tensor
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return replace(tensor, name=name, shape=shape, strides=tuple(reversed(strides)))
