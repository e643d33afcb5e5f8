"""Every two layers of a model exchanged: how often the two are named, and how often two others."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.schemes import plain_view
from weightsmith.values.unseen.layer_order import alike, best_exchange, signature
from weightsmith.values.unseen.mlp_names import feed_forwards
from weightsmith.values.unseen.sampling import Sampler

if TYPE_CHECKING:
    from pathlib import Path

_FEWEST = 5


def exchanges(folder: Path) -> tuple[int, int, int] | None:
    """(right, other layers named, asked); None for a model of fewer than five layers with feed-forward blocks."""
    checkpoint = open_checkpoint(folder)
    view = plain_view(checkpoint)
    with TensorReader(checkpoint) as reader:
        sampler = Sampler.of(view, reader)
        dense = [one for one in feed_forwards(view.tensors) if one.expert is None]
        layers = [signature(sampler, one) for one in dense]
    if len(layers) < _FEWEST:
        return None
    likeness = alike([np.stack([one.up for one in layers]), np.stack([one.down for one in layers])])
    right, others, asked = 0, 0, 0
    for pair in combinations(range(len(layers)), 2):
        order = list(range(len(layers)))
        order[pair[0]], order[pair[1]] = pair[1], pair[0]
        found = best_exchange(likeness[np.ix_(order, order)])
        asked += 1
        right += found.told and found.layers == pair
        others += found.told and found.layers != pair
    return right, others, asked
