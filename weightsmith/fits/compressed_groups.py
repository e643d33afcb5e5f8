"""Which of vllm-ascend's schemes a compressed-tensors checkpoint asks for, as its own loader decides.

vllm-ascend 0.18 and 0.23, quantization/compressed_tensors_config.py, `_detect_quant_type`: of weights and input
activations it makes one of the names under which ModelSlim's schemes are registered, or raises NotImplementedError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

METHOD = "compressed-tensors"
_ROWS, _GROUPS, _TOKENS = "channel", "group", "token"
# vLLM, compressed_tensors/utils.py, is_activation_quantization_format.
_WITH_ACTIVATIONS = frozenset({"naive-quantized", "int-quantized", "float-quantized", "nvfp4-pack-quantized"})


def schemes_asked(section: Mapping[str, object], layers: Iterable[str]) -> Iterator[str]:
    """ "W8A8_DYNAMIC.linear" for each kind of layer that is packed; in words where vllm-ascend has no name for it.

    layers: "linear", "moe". Several groups of which each is another scheme answer nothing: which module belongs to
    which of them is told by patterns.
    """
    groups = section.get("config_groups")
    found = {
        _scheme(group, section.get("format"))
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict)
    }
    if len(found) == 1:
        (scheme,) = found
        yield from (f"{scheme}.{layer}" for layer in layers)


def _scheme(group: Mapping[str, object], form: object) -> str:
    weights, inputs = (_object(group.get(key)) for key in ("weights", "input_activations"))
    if inputs and str(group.get("format") or form) in _WITH_ACTIVATIONS:
        found = _with_activations(weights, inputs)
        if found is not None:
            return found
    bits, kind = weights.get("num_bits"), weights.get("type", "int")
    if not inputs and (bits, kind, weights.get("strategy")) == (4, "int", _GROUPS):
        return "W4A16"
    return f"{bits}-bit {kind} by {weights.get('strategy')}"


def _with_activations(weights: Mapping[str, object], inputs: Mapping[str, object]) -> str | None:
    """Both symmetric, and weights not dynamic."""
    if not (weights.get("symmetric", True) and inputs.get("symmetric", True)) or weights.get("dynamic"):
        return None
    bits = (weights.get("num_bits"), inputs.get("num_bits"))
    how = (weights.get("strategy"), inputs.get("strategy"), bool(inputs.get("dynamic")))
    if bits == (8, 8) and how == (_ROWS, "tensor", False):
        return "W8A8"
    if bits == (8, 8) and how == (_ROWS, _TOKENS, True):
        floats = weights.get("type") == inputs.get("type") == "float"
        return "W8A8FP8_DYNAMIC" if floats else "W8A8_DYNAMIC"
    if bits == (4, 8) and how in {(_ROWS, _TOKENS, True), (_GROUPS, _TOKENS, True)}:
        return "W4A8_DYNAMIC"
    return None


def _object(found: object) -> Mapping[str, object]:
    return found if isinstance(found, dict) else {}
