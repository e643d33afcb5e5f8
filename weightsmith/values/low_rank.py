"""Whether two weights differ by a matrix of low rank, as a merged LoRA leaves it.

The range of the difference D [m, n] is sketched: Y = D Ω with Ω [n, k] of normal numbers has the rank of D, up to k
(Halko, Martinsson, Tropp 2011, section 4). Rounding of the merged weights adds singular values that are all alike, so
that the rank shows as the place where they drop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weightsmith.checkpoint.arrays import Doubles

# Columns of the sketch. Ranks up to LARGEST are told: adapters have 8 to 64, seldom 128.
_SKETCH = 192
LARGEST = 160
# One singular value is at least so many times the next where the rank ends: a difference of full rank falls smoothly.
_DROP = 4.0
# What the rank explains of the sum of squares; the rest is rounding.
_EXPLAINED = 0.5


def rank_of_difference(blocks: Callable[[], Iterator[Doubles]], shape: tuple[int, int]) -> int | None:
    """The rank where it is low, else None.

    blocks: rows of D [rows, n], from the first to the last; called twice. shape: (m, n).
    """
    rows, columns = shape
    width = min(_SKETCH, rows, columns)
    if width < 4:
        return None
    directions = np.random.default_rng(0).standard_normal((columns, width))
    sketch = np.concatenate([block @ directions for block in blocks()])
    if not np.isfinite(sketch).all():
        return None
    left, values, _ = np.linalg.svd(sketch, full_matrices=False)
    rank = _end_of(values)
    if rank is None or rank > min(LARGEST, width // 2, min(shape) // 4):
        return None
    inside, whole, at = np.zeros((rank, columns)), 0.0, 0
    for block in blocks():
        inside += left[at : at + len(block), :rank].T @ block
        whole += float(np.einsum("ij,ij->", block, block))
        at += len(block)
    explained = float(np.einsum("ij,ij->", inside, inside)) / whole
    return rank if explained >= _EXPLAINED else None


def _end_of(values: Doubles) -> int | None:
    """How many of the singular values, which fall, stand before their largest drop; None where none is large."""
    if not values[0] > 0:
        return None
    above = np.maximum(values, values[0] * 1e-12)
    drops = above[:-1] / above[1:]
    rank = int(np.argmax(drops)) + 1
    return rank if drops[rank - 1] >= _DROP else None
