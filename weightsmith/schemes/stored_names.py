"""Which module a stored tensor belongs to, and which names give a packed module away."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from weightsmith.schemes.bitsandbytes import STATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.table import Tensor

# The tensors of one module by their last name.
Parts: TypeAlias = dict[str, "Tensor"]

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
CACHE_SCALES = frozenset({"k_scale", "v_scale", "q_scale"})
# bitsandbytes hangs these below the weight's own name: `a.b.weight.absmax`.
_BELOW_THE_WEIGHT = frozenset({"absmax", "quant_map", "nested_absmax", "nested_quant_map"})
_BELOW_THE_MODULE = (MARKERS - _BELOW_THE_WEIGHT) | {"weight", "bias"}
_MXFP4 = ("_blocks", "_scales")
# What the packed numbers themselves are called. bitsandbytes, bitnet and 8-bit formats keep `weight` and change the
# dtype.
_NUMBERS = ("weight_packed", "qweight", "packed_weight")
_WHOLE_NUMBERS = frozenset({"U8", "I8", "I32", "U32", "I16", "U16"})
_SMALL_FLOATS = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2"})


def packed_parts(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Parts], Mapping[str, str]]:
    """(module → its tensors, for every module that has a marker; the module of every tensor).

    Both are empty where no tensor has a marker.
    """
    if not any(_is_marker(name, tensors) for name in tensors):
        return {}, {}
    split = {name: _split(name) for name in tensors}
    packed: dict[str, Parts] = {split[name][0]: {} for name in tensors if _is_marker(name, tensors)}
    for name, (owner, part) in split.items():
        if owner in packed:
            packed[owner][part] = tensors[name]
    return packed, {name: owner for name, (owner, _) in split.items()}


def holds_packed_numbers(name: str, tensor: Tensor) -> bool:
    """Whether the tensor holds numbers that must be unpacked before use, whatever their scheme."""
    last = name.rpartition(".")[2]
    if tensor.dtype in _WHOLE_NUMBERS and (last in _NUMBERS or last.endswith("_blocks")):
        return True
    small = tensor.dtype in _SMALL_FLOATS or tensor.dtype in _WHOLE_NUMBERS
    return small and name.endswith("weight") and len(tensor.shape) >= 2


def _is_marker(name: str, tensors: Mapping[str, Tensor]) -> bool:
    last = name.rpartition(".")[2]
    if last in MARKERS or last.startswith(STATE):
        return True
    return last.endswith(_MXFP4) and name[: -len("_blocks")] + "_blocks" in tensors


def _split(name: str) -> tuple[str, str]:
    """(module, part) of a tensor: `a.b.weight` and `a.b.weight.absmax` belong to `a.b`."""
    owner, _, last = name.rpartition(".")
    if last in _BELOW_THE_MODULE:
        return owner, last
    if last.endswith(_MXFP4):
        return name[: -len("_blocks")], last[-len("blocks") :]
    if last.startswith(STATE):
        owner = owner.removesuffix(".quant_state")
    return owner.removesuffix(".weight"), last
