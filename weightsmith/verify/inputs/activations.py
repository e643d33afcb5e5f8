"""What an engine rounds by design beside the weights: the activations that go into packed layers, as is stated.

No tensor of weights shows it. compressed-tensors and FP8 say it in the config, ModelSlim in its description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from weightsmith.schemes.packed_module import PACKED_BITS
from weightsmith.schemes.stated import stated_of

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.schemes import PackedModule, PlainView
    from weightsmith.schemes.stated import Stated


@dataclass(frozen=True, slots=True)
class Rounding:
    """How the input of a layer is rounded: to signed integers, or to 8-bit floats (E4M3).

    share: what has one scale: a token's row, `width` channels of a row, or everything.
    scale, zero: tensors of one number, where they are stored; else the scale is that of the largest magnitude.
    """

    numbers: Literal["int", "float"]
    bits: int = 8
    share: Literal["token", "group", "tensor"] = "token"
    width: int = 0
    symmetric: bool = True
    scale: Tensor | None = None
    zero: Tensor | None = None

    def __str__(self) -> str:
        kind = f"{self.numbers}{self.bits}"
        if self.scale is not None:
            return f"{kind} by a stored scale"
        return f"{kind} per {f'{self.width} channels' if self.share == 'group' else self.share}"


@dataclass(frozen=True, slots=True)
class Roundings:
    """by_module: of each packed module whose input is rounded.

    unknown: what is stated of others, and cannot be done here → of how many.
    """

    by_module: Mapping[str, Rounding]
    unknown: Mapping[str, int]


_TOKEN, _FP8 = Rounding("int"), Rounding("float")
# ModelSlim's modes. W8A8_MIX rounds per token where a prompt is read.
_MODES = {
    "W8A8_DYNAMIC": _TOKEN,
    "W8A8_MIX": _TOKEN,
    "W4A8_DYNAMIC": _TOKEN,
    "INT8_DYNAMIC": _TOKEN,
    "W4A4_DYNAMIC": Rounding("int", 4),
    "W8A8FP8_DYNAMIC": _FP8,
}
_WEIGHTS_ONLY = frozenset({"W8A16", "W4A16", "W4A16_MXFP4", "FLOAT"})


def roundings(checkpoint: Checkpoint, view: PlainView) -> Roundings:
    """What is stated of a packed checkpoint's activations."""
    stated = stated_of(checkpoint)
    known: dict[str, Rounding] = {}
    unknown: dict[str, int] = {}
    for module in view.modules:
        found = _rounding(module, stated)
        if isinstance(found, str):
            unknown[found] = unknown.get(found, 0) + 1
        elif found is not None:
            known[module.name] = found
    return Roundings(known, unknown)


def _rounding(module: PackedModule, stated: Stated) -> Rounding | str | None:
    """None where activations stay as they are; words for what is rounded in a way that is not computed here."""
    mode = stated.description.get(f"{module.name}.weight")
    if isinstance(mode, str):
        return _of_modelslim(module, mode)
    if module.method == "bitsandbytes-int8":
        return "LLM.int8()"
    if "input_global_scale" in module.parts or (module.method == "nvfp4" and "input_scale" in module.parts):
        return "4-bit floats"
    if stated.method == "mxfp8":
        return "MXFP8"
    if stated.method == "compressed-tensors":
        return _of_compressed_tensors(module, _input_activations(module.name, stated))
    if stated.method in ("fp8", "fbgemm_fp8") and stated.section.get("activation_scheme") != "static":
        block = stated.block
        return _FP8 if block is None else Rounding("float", share="group", width=block.cols)
    # Whoever wrote the checkpoint: a scale of inputs has no other use.
    if "input_scale" in module.parts:
        eight_bits = module.parts["weight"].dtype if "weight" in module.parts else ""
        return _stored(module, _TOKEN if eight_bits in ("I8", "U8") else _FP8, "input_scale")
    return None


def _of_modelslim(module: PackedModule, mode: str) -> Rounding | str | None:
    if mode == "W8A8":
        return _stored(module, _TOKEN, "input_scale", "input_offset")
    return None if mode in _WEIGHTS_ONLY else _MODES.get(mode, mode)


def _input_activations(name: str, stated: Stated) -> Mapping[str, object]:
    """Of the group that takes the module by its name or by a pattern of it, else by its class."""
    groups = stated.section.get("config_groups")
    found: Mapping[str, object] = {}
    for group in groups.values() if isinstance(groups, Mapping) else ():
        targets = group.get("targets") if isinstance(group, Mapping) else None
        inputs = group.get("input_activations") if isinstance(group, Mapping) else None
        inputs = inputs if isinstance(inputs, Mapping) else {}
        for target in targets if isinstance(targets, list) else ():
            if _names(target, name):
                return inputs
            if target == "Linear":
                found = inputs
    return found


def _names(target: object, name: str) -> bool:
    if not isinstance(target, str) or not target.startswith("re:"):
        return target == name
    try:
        return re.match(target[3:], name) is not None
    except re.error:
        return False


def _of_compressed_tensors(module: PackedModule, stated: Mapping[str, object]) -> Rounding | str | None:
    if not stated:
        return None
    numbers, bits = stated.get("type", "int"), stated.get("num_bits", 8)
    strategy = stated.get("strategy") or "tensor"
    symmetric = stated.get("symmetric") is not False
    found: Rounding | None = None
    if numbers == "int" and type(bits) is int and bits in PACKED_BITS and bits > 1:
        found = Rounding("int", bits, symmetric=symmetric)
    elif numbers == "float" and bits == _FP8.bits:
        found = _FP8
    found = None if found is None else _shared(found, strategy, stated.get("group_size"))
    if found is None or stated.get("dynamic") == "local":
        return f"{numbers} of {bits} bits per {strategy}"
    return found if stated.get("dynamic") else _stored(module, found, "input_scale", "input_zero_point")


def _shared(one: Rounding, strategy: object, width: object) -> Rounding | None:
    if strategy == "group":
        return replace(one, share="group", width=width) if type(width) is int and width > 0 else None
    if strategy == "tensor":
        return replace(one, share="tensor")
    return one if strategy == "token" else None


def _stored(module: PackedModule, kind: Rounding, scale: str, zero: str = "") -> Rounding | str:
    """A rounding with the scale that is stored beside the weight."""
    found = module.parts.get(scale)
    if found is None or found.elements != 1:
        return "a stored scale that is not one number"
    return Rounding(kind.numbers, kind.bits, "tensor", scale=found, zero=module.parts.get(zero))
