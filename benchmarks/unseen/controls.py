"""Numbers of chance, put to the statistics themselves by the hundred: every answer to them is a false alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weightsmith.values.unseen.dtype_history import quantized_grid
from weightsmith.values.unseen.experts import compare_experts
from weightsmith.values.unseen.gate_up import gate_and_up
from weightsmith.values.unseen.head_width import head_width
from weightsmith.values.unseen.layer_order import alike, best_exchange, copies
from weightsmith.values.unseen.norm_offset import less_one
from weightsmith.values.unseen.rotary import layout, rotary_width
from weightsmith.values.unseen.sampling import log_norms
from weightsmith.values.unseen.tied import SAME
from weightsmith.values.unseen.tokenizer_fit import tokenizer_fit, unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from weightsmith.checkpoint.arrays import Array


def _matrix(draw: Generator, rows: int, columns: int) -> Array:
    """Normal, uniform, or normal with rows of different sizes: as initializers make them, and worse."""
    kind = draw.integers(3)
    if kind == 0:
        return draw.standard_normal((rows, columns)) * 0.02
    if kind == 1:
        return draw.uniform(-1, 1, (rows, columns)) / np.sqrt(columns)
    return draw.standard_normal((rows, columns)) * np.exp(0.2 * draw.standard_normal((rows, 1)))


def _attention(draw: Generator) -> tuple[list[Array], list[Array], list[int], int]:
    """(steps' profiles, keys' profiles, candidates, the width) of an untrained stack of a random shape."""
    width = int(draw.choice([8, 16, 32, 48, 64, 80, 128]))
    heads = int(draw.choice([2, 3, 4, 6, 8, 12, 16]))
    group = int(draw.choice([g for g in (1, 2, 3, 4) if heads % g == 0]))
    layers, total = int(draw.integers(2, 13)), width * heads
    outputs = [log_norms(_matrix(draw, total, 256), 1) for _ in range(layers)]
    values = [log_norms(_matrix(draw, total // group, 256), 1) for _ in range(layers)]
    keys = [log_norms(_matrix(draw, total // group, 256), 1) for _ in range(layers)]
    candidates = [w for w in range(2, total + 1) if total % w == 0 and total // group % w == 0]
    return outputs + values, keys, candidates, width


def _head_width(draw: Generator) -> bool:
    profiles, keys, candidates, _ = _attention(draw)
    steps, rotary = head_width(profiles, candidates), rotary_width(keys, candidates)
    return any(one is not None and one.width is not None for one in (steps, rotary))


def _rotary_order(draw: Generator) -> bool:
    _, keys, _, width = _attention(draw)
    return layout(keys, width)[0] is not None


def _tokenizer(draw: Generator) -> bool:
    width, pairs = int(draw.choice([64, 192, 576])), int(draw.integers(20, 129))
    sides = {s: (_matrix(draw, pairs, width), _matrix(draw, pairs, width)) for s in range(-4, 5)}
    return tokenizer_fit(sides, _matrix(draw, 1024, width)).verdict != "not told"


def _gate(draw: Generator) -> bool:
    blocks = int(draw.integers(2, 7))
    norms = [[log_norms(_matrix(draw, 256, 192), 1) for _ in range(3)] for _ in range(blocks)]
    found = gate_and_up([(up, gate, down) for up, gate, down in norms])
    return found is not None and found.order is not None


def _layers(draw: Generator) -> bool:
    layers = int(draw.integers(5, 33))
    ups = np.stack([log_norms(_matrix(draw, 192, 128), 1) for _ in range(layers)])
    downs = np.stack([log_norms(_matrix(draw, 128, 192), 1) for _ in range(layers)])
    return best_exchange(alike([ups, downs])).told


def _copies(draw: Generator) -> bool:
    return bool(copies(_matrix(draw, int(draw.integers(5, 33)), 1024)))


def _tied(draw: Generator) -> bool:
    one, other = _matrix(draw, 256, 192), _matrix(draw, 256, 192)
    return float(np.median((unit(one) * unit(other)).sum(axis=1))) >= SAME


def _experts(draw: Generator) -> bool:
    count = int(draw.integers(2, 65))
    found = compare_experts(_matrix(draw, 8 * count, 192).reshape(count, -1))
    return bool(found.copies or found.small)


def _offset(draw: Generator) -> bool:
    norms = int(draw.integers(3, 25))
    return less_one([1 + 0.3 * draw.standard_normal(192) for _ in range(norms)])[0]


def _quantized(draw: Generator) -> bool:
    import ml_dtypes

    rows = _matrix(draw, 64, int(draw.choice([128, 192, 512, 768]))).astype(ml_dtypes.bfloat16)
    return quantized_grid(rows.astype(np.float32)) is not None


CONTROLS: dict[str, Callable[[Generator], bool]] = {
    "head-width": _head_width,
    "rotary-order": _rotary_order,
    "tokenizer": _tokenizer,
    "gate-and-up": _gate,
    "layer-order": _layers,
    "layer-copies": _copies,
    "tied-head": _tied,
    "expert-copies": _experts,
    "norm-offset": _offset,
    "quantized-once": _quantized,
}


def false_alarms(name: str, draws: int) -> int:
    """How many of so many draws of chance were answered."""
    draw = np.random.default_rng(0)
    return sum(CONTROLS[name](draw) for _ in range(draws))
