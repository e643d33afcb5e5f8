"""Whether layers were copied or exchanged: neighbouring layers of a trained model are alike, and no two are the same.

Which columns of `up`, and which rows of `down`, are large changes slowly from layer to layer. Their profiles correlate
by 0.9 for neighbours of SmolLM2-135M and 0.5 over five layers. The path through all layers in order is then nearly
the shortest, with 1 - correlation as its length, and exchanging two layers of a sound model makes it longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.value_finding import ValueFinding
from weightsmith.values.unseen.sampling import finite, log_norms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.checkpoint.arrays import Array
    from weightsmith.values.unseen.mlp_names import FeedForward
    from weightsmith.values.unseen.sampling import Sampler

COPIES, ORDER = "layer-copies", "layer-order"
# Two layers are copies where the same sample of their weights has such a cosine: rounding apart, the same numbers.
SAME = 0.999
# Two layers are exchanged where that would shorten the path by so much. Sound models gain at most 0.1 by any exchange.
LEAST_GAIN = 0.5
# Neighbours must be so alike, in the mean, once the two are in each other's place: untrained layers are not alike.
LEAST_ALIKE = 0.5
_FEWEST = 5
_MOST = 160
# Rows of each matrix that are read, in runs.
_ROWS, _RUNS = 128, 4
# Of these, the numbers by which copies are told.
_FEW, _WIDE = 8, 256
_NAMED = 6


@dataclass(frozen=True, slots=True)
class Exchange:
    """The two layers whose exchange shortens the path most, and by how much; of none it is 0 and (0, 0).

    alike: the mean correlation of neighbours after it.
    """

    layers: tuple[int, int]
    gain: float
    alike: float

    @property
    def told(self) -> bool:
        """Whether the two were exchanged."""
        return self.gain >= LEAST_GAIN and self.alike >= LEAST_ALIKE


def alike(profiles: Sequence[Array]) -> Array:
    """The correlations of layers, [layers, layers]. profiles: [layers, places] each, of one kind of tensor."""
    total = np.zeros((len(profiles[0]), len(profiles[0])))
    for rows in profiles:
        centred = rows - rows.mean(axis=1, keepdims=True)
        sizes = np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        total += (centred / sizes) @ (centred / sizes).T
    found: Array = total / len(profiles)
    return found


def best_exchange(likeness: Array) -> Exchange:
    """Over all pairs of layers. likeness: see `alike`. Needs n² / 2 paths of n steps."""
    order = list(range(len(likeness)))
    whole = _length(likeness, order)
    steps = len(order) - 1
    best = Exchange((0, 0), 0.0, 1 - whole / steps)
    for one, other in combinations(order, 2):
        turned = list(order)
        turned[one], turned[other] = other, one
        gain = whole - _length(likeness, turned)
        if gain > best.gain:
            best = Exchange((one, other), gain, 1 - (whole - gain) / steps)
    return best


def _length(likeness: Array, order: Sequence[int]) -> float:
    steps = np.array(list(pairwise(order)))
    return float((1 - likeness[steps[:, 0], steps[:, 1]]).sum())


def copies(samples: Array) -> list[tuple[int, int]]:
    """Pairs of layers with the same numbers. samples: [layers, elements]."""
    sizes = np.maximum(np.linalg.norm(samples, axis=1, keepdims=True), 1e-12)
    cosines = (samples / sizes) @ (samples / sizes).T
    return [(i, j) for i, j in combinations(range(len(samples)), 2) if cosines[i, j] > SAME]


def tell_order(sampler: Sampler, blocks: Sequence[FeedForward]) -> Iterator[ValueFinding]:
    """Copied and exchanged layers of each stack of dense blocks. Raises what `Sampler.rows` raises."""
    for stem in dict.fromkeys(one.stem for one in blocks):
        layers = [one for one in blocks if one.stem == stem and one.expert is None]
        shapes = {sampler.view.tensors[one.up].shape for one in layers}
        readable = all(sampler.readable(one.up) and sampler.readable(one.down) for one in layers)
        if _FEWEST <= len(layers) <= _MOST and len(shapes) == 1 and readable:
            yield from _of_stack(sampler, layers)


def _of_stack(sampler: Sampler, layers: Sequence[FeedForward]) -> Iterator[ValueFinding]:
    read = [signature(sampler, one) for one in layers]
    pattern = layers[0].up.replace(f".{layers[0].layer}.", ".*.", 1)
    same = copies(np.stack([one.sample for one in read]))
    if same:
        named = [(layers[i].layer, layers[j].layer) for i, j in same]
        shown = ", ".join(f"{i}={j}" for i, j in named[:_NAMED])
        says = f"{len(named)} pairs of layers have the same weights: {shown}{', …' if len(named) > _NAMED else ''}"
        pairs = [list(pair) for pair in named]
        yield ValueFinding(COPIES, "told", pairs, says, pattern, SAME, None)
        return
    found = best_exchange(alike([np.stack([one.up for one in read]), np.stack([one.down for one in read])]))
    if found.told:
        one, other = (layers[i].layer for i in found.layers)
        says = (
            f"layers {one} and {other} look exchanged: with the two in each other's place neighbours are more alike "
            f"by {found.gain:.2f} (sound models gain at most 0.1)"
        )
        margin = found.gain - LEAST_GAIN
        yield ValueFinding(ORDER, "told", [one, other], says, pattern, found.gain, margin)


@dataclass(frozen=True, slots=True)
class Signature:
    """up: log norms of columns; down: of the rows that are looked at; sample: a few of the numbers of both."""

    up: Array
    down: Array
    sample: Array


def signature(sampler: Sampler, one: FeedForward) -> Signature:
    """Of a sample of the two matrices of a layer. Raises what `Sampler.rows` raises."""
    up, down = sampler.spread(one.up, _ROWS, _RUNS), sampler.spread(one.down, _ROWS, _RUNS)
    few = np.concatenate([up[:_FEW, :_WIDE].ravel(), down[:_FEW, :_WIDE].ravel()])
    return Signature(log_norms(up, 0), log_norms(down, 1), finite(few))
