"""The numbers of single tensors: mean, spread, extremes, zeros, and how they are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.checkpoint.expansion import refuse_expanded, refuse_holes
from weightsmith.checkpoint.float_formats import FORMATS, widen
from weightsmith.values.blocks import BlockReader
from weightsmith.values.parallel import default_workers, for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.documents import StatisticsEntry

# Equal bins from four standard deviations below the mean to four above; the outermost hold what lies beyond.
BINS = 16
_REACH = 4.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the finite numbers of one tensor, in float64; `others` counts NaN and infinities.

    std: of the population. histogram: see BINS; all in the middle where every number is the same.
    """

    mean: float
    std: float
    absmax: float
    zeros: int
    others: int
    histogram: tuple[int, ...]

    def document(self) -> StatisticsEntry:
        """The `statistics` of a tensor in the JSON of `inspect`."""
        return {
            "mean": self.mean,
            "std": self.std,
            "absmax": self.absmax,
            "zeros": self.zeros,
            "others": self.others,
            "histogram": self.histogram,
        }


def statistics(checkpoint: Checkpoint, tensors: Iterable[Tensor]) -> dict[str, Statistics]:
    """By name, of those tensors that hold floating-point numbers of a common format (FORMATS) and are not empty.

    Each is read twice. Memory: one block per thread. Raises HostileCheckpoint or CorruptCheckpoint for a checkpoint
    that stands for far more bytes than it has, and what `TensorReader.read` raises.
    """
    refuse_expanded(checkpoint)
    refuse_holes(checkpoint)
    chosen = [tensor for tensor in tensors if tensor.dtype in FORMATS and tensor.elements]
    with TensorReader(checkpoint) as reader:

        def new_worker() -> Callable[[Tensor], Statistics]:
            blocks = BlockReader(reader)
            return lambda tensor: _of(tensor, blocks)

        found = for_each(chosen, new_worker, default_workers())
    return {tensor.name: one for tensor, one in zip(chosen, found, strict=True)}


def _of(tensor: Tensor, reader: BlockReader) -> Statistics:
    """The moments in one pass, by Chan's rule for joining those of two samples; the histogram in a second."""
    fmt = FORMATS[tensor.dtype]
    count, mean, squares, absmax, zeros = 0, 0.0, 0.0, 0.0, 0
    for _, bits in reader.blocks(tensor):
        values = widen(bits, fmt)
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        own = float(values.mean())
        total, apart = count + values.size, own - mean
        squares += float(((values - own) ** 2).sum()) + apart**2 * count * values.size / total
        mean += apart * values.size / total
        count = total
        absmax = max(absmax, float(np.abs(values).max()))
        zeros += int((values == 0).sum())
    std = (squares / count) ** 0.5 if count else 0.0
    histogram = np.zeros(BINS, np.int64)
    width = 2 * _REACH * std / BINS
    for _, bits in reader.blocks(tensor):
        values = widen(bits, fmt)
        values = values[np.isfinite(values)]
        places = (
            np.floor((values - mean) / width) + BINS // 2 if width > 0 else np.full(values.size, BINS // 2)
        )
        histogram += np.bincount(np.clip(places, 0, BINS - 1).astype(np.int64), minlength=BINS)
    return Statistics(mean, std, absmax, zeros, tensor.elements - count, tuple(map(int, histogram)))
