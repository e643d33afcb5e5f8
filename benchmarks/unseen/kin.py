"""Who is called kin: models and what they began as, against models whose neurons have nothing in common."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.schemes import plain_view
from weightsmith.values.lineage import LEAST
from weightsmith.values.unseen.kinship import kinship
from weightsmith.values.unseen.mlp_names import feed_forwards
from weightsmith.values.unseen.sampling import Sampler, log_norms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.checkpoint.arrays import Array


def norms(folder: Path) -> list[Array]:
    """Log norms of the neurons of each block, [neurons] each."""
    checkpoint = open_checkpoint(folder)
    view = plain_view(checkpoint)
    with TensorReader(checkpoint) as reader:
        sampler = Sampler.of(view, reader)
        return [log_norms(sampler.whole(one.up), 1) for one in feed_forwards(view.tensors)]


def descended(pairs: Sequence[tuple[Path, Path]]) -> tuple[int, int]:
    """(told, asked) of pairs of a model and what it became."""
    found = [kinship(list(zip(norms(a), norms(b), strict=True))) for a, b in pairs]
    told = [one for one in found if one is not None]
    return sum(one.paired <= LEAST for one in told), len(told)


def strangers(folders: Sequence[Path], draws: int) -> tuple[int, int]:
    """(called kin, asked) of pairs of models of different kinds, each `draws` times.

    Models that were begun with the same seed share their first numbers. So the neurons of one of them change places,
    which leaves the model what it is, and makes its order that of a stranger.
    """
    held = [blocks for folder in folders if (blocks := norms(folder))]
    draw, wrong, asked = np.random.default_rng(0), 0, 0
    for a, b in combinations(held, 2):
        if a[0].size != b[0].size:
            continue
        for _ in range(draws):
            found = kinship([(one, draw.permutation(other)) for one, other in zip(a, b, strict=False)])
            asked += 1
            wrong += found is not None and min(found.paired, found.unpaired) <= LEAST
    return wrong, asked
