"""Which experts of a layer are copies of each other, and which are far smaller than the rest: never routed to.

Experts that are never routed to get no gradient, and weight decay alone makes them small. Copies are what a dense model
was made of ("upcycled"), before training has told them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.value_finding import ValueFinding
from weightsmith.values.unseen.sampling import evenly, finite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.checkpoint.arrays import Array
    from weightsmith.values.unseen.mlp_names import FeedForward
    from weightsmith.values.unseen.sampling import Sampler

COPIES, SMALL = "expert-copies", "experts-untrained"
SAME = 0.999
# The norm of an expert is so small beside the median of its layer. Trained experts are within 0.6 of it.
SMALLEST = 0.3
_FEWEST, _MOST, _LAYERS = 2, 512, 4
_ROWS, _COLUMNS = 8, 512
_NAMED = 6


@dataclass(frozen=True, slots=True)
class ExpertsOfLayer:
    """copies: pairs of experts with the same numbers. small: experts that are far smaller than the others."""

    copies: tuple[tuple[int, int], ...]
    small: tuple[int, ...]


def compare_experts(samples: Array) -> ExpertsOfLayer:
    """From the same rows and columns of each expert of one layer, [experts, elements]."""
    sizes = np.linalg.norm(samples, axis=1)
    unit = samples / np.maximum(sizes, 1e-12)[:, None]
    cosines = unit @ unit.T
    pairs = combinations(range(len(samples)), 2)
    small = np.flatnonzero(sizes < SMALLEST * np.median(sizes))
    return ExpertsOfLayer(
        tuple((i, j) for i, j in pairs if cosines[i, j] > SAME), tuple(int(i) for i in small)
    )


def tell_experts(sampler: Sampler, blocks: Sequence[FeedForward]) -> Iterator[ValueFinding]:
    """Copied and untrained experts in a few layers. Raises what `Sampler.rows` raises."""
    by_layer: dict[tuple[str, int], list[FeedForward]] = {}
    for one in blocks:
        if one.expert is not None and sampler.readable(one.down):
            by_layer.setdefault((one.stem, one.layer), []).append(one)
    layers = [experts for experts in by_layer.values() if _FEWEST <= len(experts) <= _MOST]
    chosen = [layers[i] for i in evenly(len(layers), _LAYERS)]
    if not chosen:
        return
    found = [(experts, compare_experts(_samples(sampler, experts))) for experts in chosen]
    pattern = chosen[0][0].down.replace(f".{chosen[0][0].layer}.", ".*.", 1)
    same = [(e[0].layer, e[i].expert, e[j].expert) for e, one in found for i, j in one.copies]
    small = [(e[0].layer, e[i].expert) for e, one in found for i in one.small]
    if same:
        shown = ", ".join(f"{layer}:{i}={layer}:{j}" for layer, i, j in same[:_NAMED])
        says = f"{len(same)} pairs of experts (layer:expert) have the same weights: {shown}{_more(len(same))}"
        pairs = [list(triple) for triple in same]
        yield ValueFinding(COPIES, "told", pairs, says, pattern, SAME, None)
    if small:
        shown = ", ".join(f"{layer}:{expert}" for layer, expert in small[:_NAMED])
        says = (
            f"{len(small)} experts (layer:expert) are far smaller than the others, as if never routed to: "
            f"{shown}{_more(len(small))}"
        )
        pairs = [list(pair) for pair in small]
        yield ValueFinding(SMALL, "told", pairs, says, pattern, SMALLEST, None)


def _more(count: int) -> str:
    return ", …" if count > _NAMED else ""


def _samples(sampler: Sampler, experts: Sequence[FeedForward]) -> Array:
    """The same corner of the matrix that goes down, of each expert: [experts, elements]."""
    rows = min(_ROWS, sampler.view.tensors[experts[0].down].shape[0])
    read = [sampler.rows(one.down, 0, rows)[:, :_COLUMNS].ravel() for one in experts]
    return finite(np.stack(read))
