"""`diff --lineage`: whether one checkpoint descends from the other, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.schemes import plain_view
from weightsmith.values.blocks import grid
from weightsmith.values.unseen.dtype_history import quantized_grid
from weightsmith.values.unseen.kinship import kinship
from weightsmith.values.unseen.mlp_names import feed_forwards
from weightsmith.values.unseen.sampling import Sampler, evenly, log_norms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.arrays import Array
    from weightsmith.documents import LineageEntry
    from weightsmith.values.diff import CheckpointDifference
    from weightsmith.values.unseen.kinship import Kinship
    from weightsmith.values.unseen.mlp_names import FeedForward

# same: every number. quantized: one side is the other, rounded. trained: the same weights, moved: trained further, or
# merged. rotated: the same neurons in their places, in another hidden space. permuted: the same neurons in other
# places. unrelated: nothing speaks for an ancestor in common. not told: no feed-forward blocks that could be compared.
Relation: TypeAlias = Literal["same", "quantized", "trained", "rotated", "permuted", "unrelated", "not told"]

# log10 of the p-value from which on kinship is told.
LEAST = -9.0
# The cosine of weights, median over matrices, of copies that were rounded, and of weights that are other ones.
ROUNDED, OTHER = 0.9, 0.2
# Blocks that are compared, and elements that are read at once.
_BLOCKS, _AT_ONCE = 48, 1 << 22
_GRID_ROWS = 32


@dataclass(frozen=True, slots=True)
class Lineage:
    """relation: see Relation. towards: "A→B" or "B→A" where the direction is told, else None.

    log10_p: of the test that told it, None where nothing was compared. correlation: of the norms of neurons, place by
    place. cosine: of the weights, median over matrices. blocks: how many feed-forward blocks were compared.
    """

    relation: Relation
    towards: str | None
    log10_p: float | None
    correlation: float | None
    cosine: float | None
    blocks: int

    def document(self) -> LineageEntry:
        """The `lineage` of the JSON contract of `diff`."""
        return {
            "relation": self.relation,
            "towards": self.towards,
            "log10_p": self.log10_p,
            "correlation": self.correlation,
            "cosine": self.cosine,
            "blocks": self.blocks,
        }


def with_lineage(found: CheckpointDifference) -> CheckpointDifference:
    """The comparison with what the two are to each other. Raises what `TensorReader.read` raises."""
    matrices = {name for name, tensor in found.a.tensors.items() if len(tensor.shape) > 1}
    cosines = [tensor.cosine for tensor in found.tensors if tensor.name in matrices or found.undone]
    told = lineage(found.a, found.b, cosines, same=found.verdict != "differs")
    return replace(found, lineage=told)


def lineage(a: Checkpoint, b: Checkpoint, cosines: Iterable[float | None], *, same: bool) -> Lineage:
    """What a and b are to each other.

    cosines: of the matrices that both have, as `diff` found them. same: it found every number the same.
    Memory: a few MiB. Raises what `TensorReader.read` raises.
    """
    known = [cosine for cosine in cosines if cosine is not None]
    cosine = float(np.median(known)) if known else None
    if same:
        return Lineage("same", None, None, None, cosine, 0)
    with TensorReader(a) as reader_a, TensorReader(b) as reader_b:
        sides = Sampler.of(plain_view(a), reader_a), Sampler.of(plain_view(b), reader_b)
        pairs = _pairs(*sides)
        found = kinship([(_norms(sides[0], one), _norms(sides[1], other)) for one, other in pairs])
        if found is None:
            return Lineage("not told", None, None, None, cosine, 0)
        coarse = [_is_coarse(side, [pair[i] for pair in pairs]) for i, side in enumerate(sides)]
    return _judged(found, cosine, (coarse[0], coarse[1]))


def _judged(found: Kinship, cosine: float | None, coarse: tuple[int, int]) -> Lineage:
    relation: Relation = "unrelated"
    towards, log10_p = None, found.paired
    if found.paired <= LEAST:
        relation = "rotated" if cosine is not None and abs(cosine) < OTHER else "trained"
        if coarse[0] != coarse[1] and cosine is not None and cosine >= ROUNDED:
            relation, towards = "quantized", "B→A" if coarse[0] > coarse[1] else "A→B"
    elif found.unpaired <= LEAST:
        relation, log10_p = "permuted", found.unpaired
    return Lineage(relation, towards, log10_p, found.correlation, cosine, found.blocks)


def _pairs(a: Sampler, b: Sampler) -> list[tuple[FeedForward, FeedForward]]:
    """The blocks of the same layer and expert in both, where they have the same shape."""
    others = {
        (one.layer, one.expert, one.stem.rpartition(".")[2]): one for one in feed_forwards(b.view.tensors)
    }
    found = []
    for one in feed_forwards(a.view.tensors):
        other = others.get((one.layer, one.expert, one.stem.rpartition(".")[2]))
        if other is None or not a.readable(one.up) or not b.readable(other.up):
            continue
        if a.view.tensors[one.up].shape[0] == b.view.tensors[other.up].shape[0]:
            found.append((one, other))
    return [found[i] for i in evenly(len(found), _BLOCKS)]


def _norms(side: Sampler, one: FeedForward) -> Array:
    """Log norms of the rows of what goes up, a few MiB at a time."""
    rows, columns = grid(side.view.tensors[one.up])
    step = max(1, _AT_ONCE // max(1, columns))
    parts = [log_norms(side.rows(one.up, at, min(at + step, rows)), 1) for at in range(0, rows, step)]
    return np.concatenate(parts)


def _is_coarse(side: Sampler, blocks: Sequence[FeedForward]) -> int:
    """2 where these matrices are packed, 1 where most of a few lie on the grid of a quantizer, else 0."""
    if all(one.up in side.modules for one in blocks):
        return 2
    chosen = [blocks[i] for i in evenly(len(blocks), 3)]
    found = [quantized_grid(side.spread(one.up, _GRID_ROWS)) is not None for one in chosen]
    return int(2 * sum(found) > len(found))
