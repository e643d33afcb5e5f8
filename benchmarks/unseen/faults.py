"""Faults that no shape shows, put into sound models, and the finding that should tell each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Fault:
    """name: of the fault. finding: which question tells it. value: what it should answer, None for anything.

    make: the broken weights of sound ones, and their vocabulary (token → id) in the ids that the file then says; None
    where the model has nothing to break so. width: of the model's heads.
    """

    name: str
    finding: str
    value: object
    make: Callable[[Weights, int], Weights | None]
    ids: Callable[[int, int], int] = lambda number, count: number


def _same(weights: Weights, width: int) -> Weights:
    return weights


def _named(weights: Weights, pattern: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights.items() if re.search(pattern, name)}


def _gate_for_up(weights: Weights, width: int) -> Weights | None:
    names = _named(weights, r"\.gate_proj\.weight$")
    turned = dict(weights)
    for gate in names:
        up = gate.replace("gate_proj", "up_proj")
        turned[gate], turned[up] = weights[up], weights[gate]
    return turned if names else None


def _interleaved(weights: Weights, width: int) -> Weights | None:
    """Rows of queries and keys in the order of Meta's own files."""
    names = _named(weights, r"self_attn\.[qk]_proj\.weight$")
    if not any("k_proj" in name for name in names) or _named(weights, "decoder"):
        return None
    turned = {
        name: tensor.reshape(-1, 2, width // 2, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)
        for name, tensor in names.items()
    }
    return {**weights, **turned}


def _exchange(one: int, other: int) -> Callable[[Weights, int], Weights | None]:
    def make(weights: Weights, width: int) -> Weights | None:
        return _moved(weights, {one: other, other: one})

    return make


def _moved(weights: Weights, places: dict[int, int]) -> Weights | None:
    """Layer i as it is at place places[i]. None where there are fewer than five layers."""
    layers = {int(n) for name in weights for n in re.findall(r"layers?\.(\d+)\.", name)}
    if len(layers) < 5 or max(places) not in layers:
        return None
    moved = dict(weights)
    for name, tensor in weights.items():
        found = re.search(r"(layers?\.)(\d+)(\.)", name)
        if found and int(found[2]) in places:
            start, end = found.span(2)
            moved[f"{name[:start]}{places[int(found[2])]}{name[end:]}"] = tensor
    return moved


def _copied(weights: Weights, width: int) -> Weights | None:
    return _moved(weights, {2: 3})


def _linear(weights: Weights) -> dict[str, torch.Tensor]:
    outside = re.compile(r"(embed|wte|wpe|lm_head)")
    return {
        name: t
        for name, t in _named(weights, r"\.weight$").items()
        if t.ndim == 2 and not outside.search(name)
    }


def _int(bits: int, group: int) -> Callable[[Weights, int], Weights | None]:
    """Rounded to so many bits, one scale for `group` elements of a row (0: the row), stored as bfloat16."""

    def make(weights: Weights, width: int) -> Weights | None:
        top = 2 ** (bits - 1) - 1
        made = {}
        for name, tensor in _linear(weights).items():
            length = group or tensor.shape[1]
            if tensor.shape[1] % length:
                return None
            parts = tensor.float().reshape(tensor.shape[0], -1, length)
            scale = parts.abs().amax(dim=-1, keepdim=True).clamp(min=1e-8) / top
            made[name] = ((parts / scale).round() * scale).reshape(tensor.shape).bfloat16()
        return {**weights, **made} if made else None

    return make


def _fp8(weights: Weights, width: int) -> Weights | None:
    """e4m3 with one scale a matrix, stored as bfloat16."""
    made = {}
    for name, tensor in _linear(weights).items():
        scale = tensor.float().abs().max() / 448
        made[name] = ((tensor.float() / scale).to(torch.float8_e4m3fn).float() * scale).bfloat16()
    return {**weights, **made} if made else None


def _bf16_in_fp32(weights: Weights, width: int) -> Weights:
    return {name: t.bfloat16().float() if t.is_floating_point() else t for name, t in weights.items()}


def _expert_twice(weights: Weights, width: int) -> Weights | None:
    names = _named(weights, r"experts\.0\.")
    return (
        {**weights, **{n.replace("experts.0.", "experts.1."): t for n, t in names.items()}} if names else None
    )


def _expert_never_routed(weights: Weights, width: int) -> Weights | None:
    names = _named(weights, r"experts\.2\.")
    return {**weights, **{name: tensor * 0.05 for name, tensor in names.items()}} if names else None


def _by(shift: int) -> Callable[[int, int], int]:
    return lambda number, count: (number + shift) % count


# A permutation of the ids that leaves no neighbours: the multiplier has no common divisor with most counts.
FAULTS = (
    *(Fault(f"ids shifted by {s:+d}", "tokenizer", -s, _same, _by(s)) for s in (-3, -2, -1, 1, 2, 3)),
    Fault("ids permuted", "tokenizer", None, _same, lambda number, count: number * 7919 % count),
    Fault("ids of another vocabulary", "tokenizer", None, _same, lambda number, count: (number + count // 3) % count),
    Fault("gate and up exchanged", "gate-and-up", "exchanged", _gate_for_up),
    Fault("rows in Meta's rotary order", "rotary-order", "interleaved", _interleaved),
    Fault("layers 1 and 3 exchanged", "layer-order", [1, 3], _exchange(1, 3)),
    Fault("layers 5 and 20 exchanged", "layer-order", [5, 20], _exchange(5, 20)),
    Fault("layers 10 and 13 exchanged", "layer-order", [10, 13], _exchange(10, 13)),
    Fault("layer 2 copied over layer 3", "layer-copies", [[2, 3]], _copied),
    Fault("int4 once, groups of 32", "quantized-once", {"kind": "int", "bits": 4, "group": 32}, _int(4, 32)),
    Fault("int4 once, groups of 64", "quantized-once", {"kind": "int", "bits": 4, "group": 64}, _int(4, 64)),
    Fault("int8 once, a scale a row", "quantized-once", {"kind": "int", "bits": 8, "group": 0}, _int(8, 0)),
    Fault("fp8 once, a scale a matrix", "quantized-once", {"kind": "float", "bits": 3, "group": 0}, _fp8),
    Fault("bfloat16 in float32", "dtype-history", "BF16", _bf16_in_fp32),
    Fault("an expert twice", "expert-copies", None, _expert_twice),
    Fault("an expert never routed to", "experts-untrained", None, _expert_never_routed),
)  # fmt: skip
