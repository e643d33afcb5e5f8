"""Vectors of one side against those of another: cosines, distances, and bf16's own noise as their measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from weightsmith.checkpoint.small_file import open_named
from weightsmith.records import Record
from weightsmith.verify.measure.noise import upper_bound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    # By the text's number: float32 [width].
    Vectors: TypeAlias = Mapping[int, NDArray[np.float32]]

VectorPairName = Literal["R-B", "R-D", "B-D"]
PAIRS: tuple[VectorPairName, ...] = ("R-B", "R-D", "B-D")
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True)
class Apart(Record):
    """One text's vector on two sides.

    cosine: None for logits, of which the direction says nothing.
    distance: of vectors, as a share of the true one's length; of logits, the largest difference.
    """

    cosine: float | None
    distance: float


@dataclass(frozen=True, slots=True)
class VectorPair(Record):
    """Two sides over all texts.

    texts: by number. cosine_min, cosine_mean: None for logits. distance_max, distance_rms: as in `Apart`.
    nonfinite: texts whose vector is not finite on either side; they are in nothing else.
    """

    texts: Mapping[int, Apart]
    cosine_min: float | None
    cosine_mean: float | None
    distance_max: float
    distance_rms: float
    nonfinite: int

    @property
    def worst(self) -> int | None:
        """Number of the text that is furthest off."""
        return max(self.texts, key=lambda n: self.texts[n].distance, default=None)


@dataclass(frozen=True, slots=True)
class VectorNoise(Record):
    """How far a side is from fp32, by how far bf16 (or fp16) on the CPU is: squared distances over squared distances.

    upper: 95 % bound of a bootstrap over texts.
    """

    ratio: float
    upper: float


def read_vectors(path: Path, orders: Mapping[str, Sequence[int]]) -> dict[str, Vectors]:
    """The vectors of a file by their names in it and by number. orders: name → the numbers of its rows.

    Raises KeyError and ValueError for a file that lacks some.
    """
    from safetensors import safe_open

    open_named(path).close()
    found: dict[str, Vectors] = {}
    with safe_open(path, framework="numpy") as file:
        for name, order in orders.items():
            rows: NDArray[np.float32] = file.get_tensor(name)
            if rows.ndim != 2 or len(rows) != len(order):
                raise ValueError(f"{name} has {rows.shape} where {len(order)} vectors are expected")
            found[name] = dict(zip(order, rows, strict=True))
    return found


def compare(true: Vectors, other: Vectors, *, logits: bool) -> VectorPair:
    """One side against another, over the texts that both have."""
    both = [n for n in true if n in other]
    finite = [n for n in both if np.isfinite(true[n]).all() and np.isfinite(other[n]).all()]
    texts = {n: _apart(true[n].astype(np.float64), other[n].astype(np.float64), logits) for n in finite}
    cosines = [one.cosine for one in texts.values() if one.cosine is not None]
    distances = np.array([one.distance for one in texts.values()] or [np.nan])
    return VectorPair(
        texts=texts,
        cosine_min=min(cosines, default=None),
        cosine_mean=float(np.mean(cosines)) if cosines else None,
        distance_max=float(distances.max()),
        distance_rms=float(np.sqrt(np.mean(distances**2))),
        nonfinite=len(both) - len(finite),
    )


def _apart(true: NDArray[np.float64], other: NDArray[np.float64], logits: bool) -> Apart:
    if logits:
        return Apart(None, float(np.abs(true - other).max()))
    length, length_other = float(np.linalg.norm(true)), float(np.linalg.norm(other))
    cosine = float(true @ other) / max(length * length_other, _TINY)
    return Apart(cosine, float(np.linalg.norm(true - other)) / max(length, _TINY))


def noise(floor: VectorPair, moved: VectorPair) -> VectorNoise | None:
    """A side's squared distances from fp32 over those of bf16; None where no text is in both.

    floor: R against B. moved: R against the side.
    """
    both = [n for n in floor.texts if n in moved.texts]
    if not both:
        return None
    below = np.array([floor.texts[n].distance ** 2 for n in both])
    above = np.array([moved.texts[n].distance ** 2 for n in both])
    return VectorNoise(float(above.sum() / max(below.sum(), _TINY)), upper_bound(below, above))
