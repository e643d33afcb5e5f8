"""`quantization_config` from the tensors: the method, bits and group size as far as they are proven, and no further."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.checkpoint.config_file import CONFIG
from weightsmith.shapes.field_reports import FieldReport
from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.solve.equations import TensorEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.schemes import PackedModule, PlainView
    from weightsmith.shapes.field_reports import Status

_FORMATS = {
    "compressed-tensors-packed": "pack-quantized",
    "compressed-tensors-nvfp4": "nvfp4-pack-quantized",
    "compressed-tensors-int8": "int-quantized",
    "compressed-tensors-fp8": "float-quantized",
    "compressed-tensors-mxfp4": "mxfp4-pack-quantized",
}
# Of these no config is derived: the loader reads another file, or the tensors do not tell which library wrote them.
_NOT_DERIVED = frozenset(
    {"gguf", "modelslim", "modelslim-w4", "fp8", "mlx", "mxfp4-pairs", "nvfp4", "quanto", "torchao"}
)
# Other libraries that store the same tensors, under a method of their own: loaders know them by it.
_AUTO_ROUND = frozenset({"auto-round", "intel/auto-round", "inc"})
_OTHER_WRITERS = {"gptq": _AUTO_ROUND, "awq": _AUTO_ROUND, "compressed-tensors-int8": frozenset({"quark"})}
# What the method leaves to data or to the run time: no name or shape shows it.
_UNPROVEN = {
    "gptq": "desc_act and sym",
    "awq": "version (gemm or gemv)",
    "compressed-tensors-packed": "how activations are quantized",
    "compressed-tensors-int8": "how activations are quantized",
    "compressed-tensors-fp8": "how activations are quantized",
    "bitsandbytes-nf4": "bnb_4bit_compute_dtype",
    "modelslim": "the scheme itself: see quant_model_description.json",
}


# Settings that no method has by default.
_ALWAYS = frozenset({"quant_method", "bits", "load_in_4bit", "load_in_8bit"})
# Of the first two one is true: transformers refuses both at once.
_FOUR_BITS = ("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
# Methods whose weights may lie plain on the disk: they are quantized while the model is loaded, or trained as they are.
_PLAIN_ON_DISK = frozenset({"torchao", "bitnet"})
_SECTIONS = ("quantization_config", "compression_config")
_FLOATS = frozenset({"BF16", "F16", "F32", "F64"})


def quantization_rows(config: JsonObject | None, packing: PlainView, *, whole: bool) -> list[FieldReport]:
    """Rows for what is missing or wrong in `quantization_config`.

    whole: the family explains every tensor, so that what looks plain is no packing that is not known here.
    """
    if not packing.modules:
        return _stale_sections(config or {}, packing) if whole else []
    place, stated = _stated_section(config or {})
    packing = _regrouped(packing, stated)
    kind = _main(packing)
    derived = derived_config(packing)
    named = stated.get("quant_method") if isinstance(stated, dict) else None
    # modelopt, quark and mxfp8 store 8-bit floats in the same tensors, under names and keys of their own.
    other = named in _OTHER_WRITERS.get(kind, ()) or (kind == "fp8-block" and named not in (None, "fp8"))
    if kind in _NOT_DERIVED or derived is None or other:
        return []
    evidence = _evidence(packing)
    if not isinstance(stated, dict):
        return [FieldReport("quantization_config", None, None, derived, "missing", "weights", (), evidence)]
    rows = []
    for path, value in _proven(kind, derived):
        found = _at(stated, path)
        name = ".".join((place, *path))
        if found is None and (path[-1] not in _ALWAYS or value is False):
            continue  # the method's own default may be meant
        status: Status = "agrees" if found == value else "missing" if found is None else "differs"
        rows.append(FieldReport(name, found, None, value, status, "weights", (), evidence))
    return rows


def _sections(config: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """(where the config says how weights are packed, what it says): on the top, and in the configs of its parts."""
    inside = (f"{part}.{_SECTIONS[0]}" for part, value in config.items() if isinstance(value, dict))
    for place in (*_SECTIONS, *inside):
        stated = lookup(config, place)[1]
        if isinstance(stated, dict):
            yield place, stated


def _stated_section(config: JsonObject) -> tuple[str, Json]:
    """The first section, under the name that loaders know."""
    place, stated = next(_sections(config), (_SECTIONS[0], None))
    return (_SECTIONS[0] if place in _SECTIONS else place), stated


def _stale_sections(config: JsonObject, packing: PlainView) -> list[FieldReport]:
    """Sections that say how weights are packed which are plain: a loader would look for parts that are not there."""
    if any(tensor.dtype not in _FLOATS for tensor in packing.tensors.values()):
        return []
    largest = max(packing.tensors.values(), key=lambda tensor: tensor.nbytes, default=None)
    rows = []
    for place, stated in _sections(config):
        method = stated.get("quant_method")
        if method is not None and method not in _PLAIN_ON_DISK and largest is not None:
            seen = TensorEvidence(largest.name, None, None, f"plain {largest.dtype}, as every other tensor")
            rows.append(FieldReport(place, dict(stated), None, None, "differs", "weights", (), (seen,)))
    return rows


def quantization_problems(config: JsonObject | None, packing: PlainView) -> Iterator[Problem]:
    """What cannot be said or does not fit together."""
    stated = _stated_section(config or {})[1]
    if not packing.modules:
        method = stated.get("quant_method") if isinstance(stated, dict) else None
        if method is not None and method != "torchao":
            text = f"the config says {method}, but no tensor is packed: a loader will fail"
            yield Problem("quantization", text, file=CONFIG)
        return
    packing = _regrouped(packing, stated)
    kind = _main(packing)
    several = Counter((m.method, m.bits, m.group) for m in packing.modules)
    if len(several) > 1 and kind != "gguf":  # where it is usual
        mixed = "; ".join(f"{n} of {m}, {b} bits, group {g}" for (m, b, g), n in several.most_common(4))
        yield Problem("quantization-mixed", f"modules are packed in different ways: {mixed}")
    lost = [m.name for m in packing.modules if m.shape is None]
    if lost:
        yield Problem(
            "quantization", f"{len(lost)} packed modules do not tell their shape, such as {lost[0]}"
        )
    if kind in _UNPROVEN and not isinstance(stated, dict):
        yield Problem("quantization", f"packed as {kind}; the tensors do not prove {_UNPROVEN[kind]}")


def _regrouped(packing: PlainView, stated: Json) -> PlainView:
    """Gives modules that are one group wide their group: their one scale per row is also one scale per group.

    The group is the one that wider modules show; where there are none, the one that the config states.
    """
    shown = Counter(m.group for m in packing.modules if m.group > 0)
    group = shown.most_common(1)[0][0] if shown else _stated_group(stated)
    modules = (
        replace(m, group=group) if m.group == -1 and m.shape is not None and m.shape[-1] == group else m
        for m in packing.modules
    )
    return packing if group is None else replace(packing, modules=tuple(modules))


def _stated_group(stated: Json) -> int | None:
    """`group_size` of a quantization_config, at its top (GPTQ, AWQ) or in its first group (compressed-tensors)."""
    paths = (("group_size",), ("config_groups", "group_0", "weights", "group_size"))
    found = (_at(stated, path) for path in paths)
    return next((size for size in found if type(size) is int and size > 0), None)


def _main(packing: PlainView) -> str:
    return Counter(module.method for module in packing.modules).most_common(1)[0][0]


def _typical(packing: PlainView) -> PackedModule:
    """A module packed the way most are."""
    kind = Counter((m.method, m.bits, m.group) for m in packing.modules).most_common(1)[0][0]
    return next(m for m in packing.modules if (m.method, m.bits, m.group) == kind)


def derived_config(packing: PlainView) -> dict[str, Json] | None:
    """What a loader needs to read these tensors; None where it reads another file for that."""
    typical = _typical(packing)
    spared = _spared(packing)
    match typical.method:
        case "gptq":
            return {"quant_method": "gptq", "bits": typical.bits, "group_size": typical.group}
        case "awq":
            return {
                "quant_method": "awq", "bits": typical.bits, "group_size": typical.group,
                "zero_point": True, "version": "gemm",
            }  # fmt: skip
        case "fp8-block" if typical.group <= 0:
            return None
        case "fp8-block":
            static = "input_scale" in typical.parts or "activation_scale" in typical.parts
            return {
                "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [typical.group, typical.group],
                "activation_scheme": "static" if static else "dynamic", "modules_to_not_convert": spared,
            }  # fmt: skip
        case "bitsandbytes-nf4" | "bitsandbytes-fp4":
            return {
                "quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
                "bnb_4bit_quant_type": typical.method[-3:],
                "bnb_4bit_use_double_quant": "nested_absmax" in typical.parts,
            }  # fmt: skip
        case "bitsandbytes-int8":
            return {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}
        case "mxfp4" | "bitnet" as method:
            return {"quant_method": method, "modules_to_not_convert": spared}
        case method if method in _NOT_DERIVED:
            return None
    return _compressed(typical, spared)


def _compressed(typical: PackedModule, spared: list[str]) -> dict[str, Json]:
    blocks = _in_blocks(typical)
    strategy = {-1: "channel", 0: "tensor"}.get(typical.group, "block" if blocks else "group")
    weights: dict[str, Json] = {
        "num_bits": typical.bits,
        "type": "float" if typical.method.endswith(("fp8", "fp4")) else "int",
        "symmetric": "weight_zero_point" not in typical.parts,
        "strategy": "tensor_group" if typical.method.endswith("nvfp4") else strategy,
        "group_size": typical.group if typical.group > 0 and not blocks else None,
        **({"block_structure": [typical.group, typical.group]} if blocks else {}),
    }
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": _FORMATS[typical.method],
        "quantization_status": "compressed",
        "ignore": spared,
        "config_groups": {"group_0": group},
    }


def _in_blocks(module: PackedModule) -> bool:
    """Whether several rows share a scale, as several channels do."""
    scale, shape = module.parts.get("weight_scale"), module.shape
    if scale is None or shape is None or module.group <= 0 or len(scale.shape) < 2:
        return False
    return scale.shape[-2] < shape[-2]


def _spared(packing: PlainView) -> list[str]:
    """Linear modules that were left unpacked; embeddings and norms are never packed, so they need no mention."""
    names = (name.removesuffix(".weight") for name in packing.plain)
    return [n for n in names if not any(word in n.lower() for word in ("embed", "norm", "wte", "wpe"))]


def _proven(kind: str, derived: JsonObject) -> Iterator[tuple[tuple[str, ...], Json]]:
    yield ("quant_method",), derived["quant_method"]
    keys = {
        "gptq": ("bits", "group_size"),
        "awq": ("bits", "group_size"),
        "fp8-block": ("weight_block_size",),
        "bitsandbytes-nf4": _FOUR_BITS,
        "bitsandbytes-fp4": _FOUR_BITS,
        "bitsandbytes-int8": ("load_in_4bit", "load_in_8bit"),
    }
    for key in keys.get(kind, ()):
        yield (key,), derived[key]
    if kind in _FORMATS:
        yield ("format",), derived["format"]
        for key in ("num_bits", "type", "strategy", "group_size"):
            path = ("config_groups", "group_0", "weights", key)
            yield path, _at(derived, path)


def _at(stated: Json, path: tuple[str, ...]) -> Json:
    """What lies at the end of a path of keys; None where it breaks off."""
    found = stated
    for part in path:
        if not isinstance(found, dict):
            return None
        found = found.get(part)
    return found


def _evidence(packing: PlainView) -> tuple[TensorEvidence, ...]:
    typical = _typical(packing)
    parts = ", ".join(sorted(typical.parts))
    return (TensorEvidence(typical.name, None, None, f"{typical.method}: {parts}"),)
