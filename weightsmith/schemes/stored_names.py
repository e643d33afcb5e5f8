"""Which module a stored tensor belongs to, and which names give a packed module away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.checkpoint.gguf_types import PREFIX
from weightsmith.schemes.bitsandbytes import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
        "weight_scale_2", "weight_scale_second", "weight_offset_second", "scale_bias", "output_scale",
        "output_zero_point", "act_scale", "kv_cache_scale", "kv_cache_offset", "_weight_qdata", "_weight_scale",
        "_weight_zero_point", "left_trans", "right_trans", "clip_ratio", "pre_quant_scale",
    }
)  # fmt: skip
# What only an engine that quantizes activations or its key/value cache has a use for.
ENGINE_PARTS = frozenset(
    {
        "input_scale", "input_zero_point", "input_offset", "input_global_scale", "output_scale", "output_zero_point",
        "activation_scale", "act_scale", "k_scale", "v_scale", "q_scale", "kv_cache_scale", "kv_cache_offset",
        "quant_bias", "scale_bias", "input_scale_ub",
    }
)  # fmt: skip
# Scales of a quantized KV cache: they say nothing about the model's shapes.
CACHE_SCALES = frozenset({"k_scale", "v_scale", "q_scale", "kv_cache_scale", "kv_cache_offset"})
# bitsandbytes and quanto hang these below the weight's own name: `a.b.weight.absmax`.
_BELOW_THE_WEIGHT = frozenset(
    {"absmax", "quant_map", "nested_absmax", "nested_quant_map", "_data", "_scale", "_shift"}
)
_BELOW_THE_MODULE = (MARKERS - _BELOW_THE_WEIGHT) | {"weight", "bias", "biases", "scale"}
_MXFP4 = ("_blocks", "_scales")
# What experts that are stacked in a tensor without `.weight` have beside them: `experts.gate_up_proj_scale_inv`.
_BESIDE = (
    "_weight_scale_inv",
    "_weight_scale_2",
    "_weight_scale",
    "_scale_inv",
    "_scale_2",
    "_scale",
    "_input_scale",
)
# What the packed numbers themselves are called. bitsandbytes, bitnet and 8-bit formats keep `weight` and change the
# dtype.
# The last three: HQQ, QuIP#, ExLlamaV3.
_NUMBERS = (
    "weight_packed", "qweight", "packed_weight", "_data", "qdata", "_weight_qdata", "W_q", "Qidxs", "trellis",
)  # fmt: skip
_WHOLE_NUMBERS = frozenset({"U8", "I8", "I32", "U32", "I16", "U16"})
# Whole numbers of a plain model: GPT-2's mask of what comes later, as old files keep it.
_MASKS = frozenset({"bias", "masked_bias", "attn_mask", "mask"})
SMALL_FLOATS = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2"})


@dataclass(slots=True)
class NamedParts:
    """A module's tensors by their last names. plain: what the weight is called that they make."""

    plain: str
    parts: Parts = field(default_factory=dict)


def packed_parts(tensors: Mapping[str, Tensor]) -> tuple[dict[str, NamedParts], Mapping[str, str]]:
    """(module → its tensors, for every module that has a marker; the module of every tensor).

    Both are empty where no tensor has a marker.
    """
    if not any(_is_marker(name, tensors) for name in tensors):
        return {}, {}
    split = {name: _split(name, tensors) for name in tensors}
    # A stack of experts is the weight of the module that its scales name.
    for name in tensors:
        stem = _stem(name, tensors) or _four_bit_stem(name, tensors)
        if stem is not None:
            split[stem] = (stem, "weight")
    packed: dict[str, NamedParts] = {}
    for name in tensors:
        if _is_marker(name, tensors):
            owner = split[name][0]
            bare = owner in tensors or name.endswith(_MXFP4)
            packed.setdefault(owner, NamedParts(owner if bare else f"{owner}.weight"))
    for name, (owner, part) in split.items():
        if owner in packed:
            packed[owner].parts[part] = tensors[name]
    return packed, {name: owner for name, (owner, _) in split.items()}


def holds_packed_numbers(name: str, tensor: Tensor) -> bool:
    """Whether the tensor holds numbers that must be unpacked before use, whatever their scheme."""
    last = name.rpartition(".")[2]
    if tensor.dtype in _WHOLE_NUMBERS and (
        last in _NUMBERS or last.endswith("_blocks") or last.startswith(PREFIX)
    ):
        return True
    small = tensor.dtype in SMALL_FLOATS or tensor.dtype in _WHOLE_NUMBERS
    return small and len(tensor.shape) >= 2 and (name.endswith("weight") or tensor.dtype in SMALL_FLOATS)


def whole_numbers_alone(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Tensors of whole numbers in modules without a weight, which a quantizer may have packed under any name."""
    for name, tensor in tensors.items():
        owner, _, last = name.rpartition(".")
        if tensor.dtype in _WHOLE_NUMBERS and last not in _MASKS and f"{owner}.weight" not in tensors:
            yield name


def serves_an_engine(name: str) -> bool:
    """Whether a tensor is of use only where activations or the key/value cache are quantized."""
    owner, _, last = name.rpartition(".")
    of_attention = last in ("scale", "offset") and owner.rpartition(".")[2] in ("fa_q", "fa_k", "fa_v")
    return of_attention or last in ENGINE_PARTS


def _is_marker(name: str, tensors: Mapping[str, Tensor]) -> bool:
    owner, _, last = name.rpartition(".")
    if last in MARKERS or last.startswith((STATE, PREFIX)):
        return True
    if last == "scale":
        return _is_small(tensors.get(f"{owner}.weight"))
    if last in ("_data", "_scale", "_shift"):
        return owner.endswith(".weight") and f"{owner}._data" in tensors
    if last.endswith(_MXFP4) and name[: -len("_blocks")] + "_blocks" in tensors:
        return True
    return _stem(name, tensors) is not None


def _stem(name: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The tensor without `.weight` whose scale this is."""
    if "_scale" not in name:
        return None
    for ending in _BESIDE:
        stem = name.removesuffix(ending)
        if stem != name and not stem.endswith("weight") and _is_small(tensors.get(stem)):
            return stem
    return None


def _four_bit_stem(name: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The tensor without `.weight` that bitsandbytes packed (its nn/parametrize.py): `experts.down_proj.absmax`."""
    stem, _, last = name.rpartition(".")
    return stem if last == "absmax" and not stem.endswith(".weight") and stem in tensors else None


def _is_small(tensor: Tensor | None) -> bool:
    """Whether a tensor holds numbers that mean nothing without a scale."""
    return (
        tensor is not None
        and len(tensor.shape) >= 2
        and (tensor.dtype in SMALL_FLOATS or tensor.dtype in ("I8", "U8"))
    )


def _split(name: str, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """(module, part) of a tensor: `a.b.weight` and `a.b.weight.absmax` belong to `a.b`."""
    owner, _, last = name.rpartition(".")
    if last in _BELOW_THE_MODULE:
        return owner, last
    if last.endswith(_MXFP4) and name[: -len("_blocks")] + "_blocks" in tensors:
        return name[: -len("_blocks")], last[-len("blocks") :]
    stem = _stem(name, tensors)
    if stem is not None:
        part = name[len(stem) + 1 :]
        return stem, part if part.startswith(("weight", "input")) else f"weight_{part}"
    if last.startswith(STATE):
        owner = owner.removesuffix(".quant_state")
    return owner.removesuffix(".weight"), last
