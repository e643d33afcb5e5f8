"""Are the weights ternary? The verdict on the numbers themselves, with the largest group size that they allow."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Literal

import numpy as np

from weightsmith.values.linear import SMALLEST_GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.checkpoint.float_formats import FloatFormat
    from weightsmith.documents import FusionEntry
    from weightsmith.values.claims import Claims

# Numbers beyond the first of their group that must share its magnitude before a tensor counts as ternary.
# Among latent bf16 weights two neighbours coincide about once in a hundred times: 32 times running never
# happens.
_COINCIDENCES = 32

WHOLE_ROW = -1

# What one linear weight shows; "silent": constant, all zero, or too small to tell.
TensorState = Literal["ternary", "other", "silent"]
# What a checkpoint's linear weights are. "latent": not ternary yet, though the files beside them say that they are
# meant to be. "none": nothing speaks of ternary weights. "mixed": some are fused and some are not.
FusionState = Literal["fused", "latent", "packed", "mixed", "none"]


@dataclass(frozen=True, slots=True)
class TensorFusion:
    """What one linear weight shows.

    cols: its input channels.
    group: the largest group size that fits, WHOLE_ROW when every row has one magnitude; None unless ternary.
    evidence: the stretch that rules ternary out, or the sentence that every group agrees.
    """

    tensor: str
    cols: int
    state: TensorState
    group: int | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Fusion:
    """The verdict over a checkpoint.

    group_size: channels that share a scale, WHOLE_ROW for one scale per row, None where it is not known.
    claimed_fused: they are latent, and a file beside the weights says that they are fused.
    tensors_checked: linear weights that could tell. evidence: sentences for people, most telling first.
    """

    state: FusionState
    group_size: int | None
    tensors_checked: int
    evidence: tuple[str, ...]
    claimed_fused: bool = False

    def document(self) -> FusionEntry:
        """The `fusion` object of the JSON contract."""
        return {
            "state": self.state,
            "group_size": self.group_size,
            "tensors_checked": self.tensors_checked,
        }


class TernaryTest:
    """Whether one [rows, cols] tensor is ternary, tested block by block.

    A group size g fits when every group holds one non-zero magnitude. Two neighbouring non-zero channels i,
    i+1 of different magnitude lie in different groups, so g divides i+1. Every g that fits therefore divides
    the greatest common divisor of cols and all such positions; the test keeps that divisor, and each block is
    checked against it. A group of fewer than SMALLEST_GROUP channels proves nothing, so below that the answer is
    no.
    """

    def __init__(self, tensor: str, cols: int, fmt: FloatFormat) -> None:
        self._tensor, self._cols, self._format = tensor, cols, fmt
        self._group = cols
        self._coincidences = 0
        self._seen_zero = self._seen_positive = self._seen_negative = False
        self._counterexample = ""

    @property
    def undecided(self) -> bool:
        """Nothing has ruled ternary weights out yet; more rows still can."""
        return not self._counterexample

    def add_rows(self, first_row: int, bits: Bits, magnitudes: Bits) -> None:
        """bits, magnitudes: whole rows, patterns with and without their signs."""
        self._refine(first_row, magnitudes)
        if self._counterexample or self._convincing:
            return
        sign = bits.dtype.type(self._format.sign)
        # +0.0 wraps to the largest word and -0.0 to the largest positive one.
        below = bits - bits.dtype.type(1)
        self._seen_positive = self._seen_positive or int(below.min()) < int(sign) - 1
        self._seen_negative = self._seen_negative or int(bits.max()) > int(sign)
        nonzero = int(np.count_nonzero(magnitudes))
        self._seen_zero = self._seen_zero or nonzero < magnitudes.size
        # Counted with the group size of the moment, which only shrinks: a lower bound.
        self._coincidences += nonzero - int(np.count_nonzero(_unions(magnitudes, self._group)))

    @property
    def _convincing(self) -> bool:
        """All three values were seen, and far more equal magnitudes than chance gives."""
        three_values = self._seen_zero and self._seen_positive and self._seen_negative
        return three_values and self._coincidences >= _COINCIDENCES

    def _refine(self, first_row: int, magnitudes: Bits) -> None:
        """Shrinks the group size until every group of the block holds one magnitude, or finds that none does."""
        broken = magnitudes
        where = np.arange(len(magnitudes))
        while True:
            rows = _rows_with_broken_groups(broken, self._group)
            if not rows.size:
                return
            broken, where = broken[rows], where[rows]
            smaller = _next_group(broken, self._group)
            if smaller is None:
                # A row that no group size fits is the clearest evidence; without one, two rows disagree.
                culprits = (
                    r for r in range(len(broken)) if _next_group(broken[r : r + 1], self._group) is None
                )
                worst = next(culprits, 0)
                row = int(where[worst]) + first_row
                self._counterexample = _describe_broken_group(self._tensor, row, broken[worst])
                return
            self._group = smaller

    def verdict(self) -> TensorFusion:
        """What all the rows so far show."""
        if self._counterexample:
            return TensorFusion(self._tensor, self._cols, "other", None, self._counterexample)
        if not self._convincing:
            return TensorFusion(self._tensor, self._cols, "silent", None, "")
        group = WHOLE_ROW if self._group == self._cols else self._group
        evidence = f"every group of {self._group} channels in {self._tensor} holds one magnitude"
        return TensorFusion(self._tensor, self._cols, "ternary", group, evidence)


def _unions(magnitudes: Bits, group: int) -> Bits:
    """All bits that occur in each group, [rows, groups]: the magnitude itself where a group holds only one."""
    rows, cols = magnitudes.shape
    if group * magnitudes.itemsize % 8 == 0 and magnitudes.flags.c_contiguous:
        # Eight bytes at a time, then the lanes of the word: four times fewer steps than by element.
        words = magnitudes.view(np.uint64).reshape(rows, cols // group, -1)
        parts: Bits = np.bitwise_or.reduce(words, axis=2, keepdims=True).view(magnitudes.dtype)
    else:
        parts = magnitudes.reshape(rows, cols // group, group)
    unions: Bits = np.bitwise_or.reduce(parts, axis=2)
    return unions


def _rows_with_broken_groups(magnitudes: Bits, group: int) -> NDArray[np.intp]:
    """Indices of the rows in which some group holds two different non-zero magnitudes."""
    grouped = magnitudes.reshape(len(magnitudes), -1, group)
    # Where all non-zero magnitudes are equal, each is the union of their bits; otherwise some differ from it.
    others = grouped * (grouped != _unions(magnitudes, group)[:, :, None])
    if not others.max():
        return np.empty(0, np.intp)
    return np.flatnonzero(others.reshape(len(magnitudes), -1).any(axis=1))


def _next_group(magnitudes: Bits, group: int) -> int | None:
    """The largest divisor of `group` that the neighbours in these broken rows leave open; None below the smallest."""
    left, right = magnitudes[:, :-1], magnitudes[:, 1:]
    differ = ((left != right) & (left != 0) & (right != 0)).any(axis=0)
    common = group
    for position in np.flatnonzero(differ).tolist():
        common = gcd(common, position + 1)
        if common < SMALLEST_GROUP:
            return None
    if common < group:
        return common
    # The magnitudes change across a gap of zeros, which leaves the position open: try the divisors in turn.
    for divisor in range(group // 2, SMALLEST_GROUP - 1, -1):
        if group % divisor == 0 and not _rows_with_broken_groups(magnitudes, divisor).size:
            return divisor
    return None


def _describe_broken_group(tensor: str, row: int, magnitudes: Bits) -> str:
    """Names a short stretch of a row that holds several magnitudes."""
    size = min(SMALLEST_GROUP, len(magnitudes))
    for start in range(0, len(magnitudes), size):
        stretch = magnitudes[start : start + size]
        distinct = len(np.unique(stretch[stretch != 0]))
        if distinct > 1:
            channels = f"channels {start} to {start + len(stretch) - 1}"
            return f"{tensor} row {row} holds {distinct} different magnitudes in {channels}"
    return f"{tensor} row {row} changes its magnitude within every group of at least {size} channels"


def common_group(fits: Sequence[TensorFusion]) -> int | None:
    """The largest group size that fits every ternary tensor: WHOLE_ROW, a number of channels, or None."""
    sizes = [f.group for f in fits if f.group is not None and f.group != WHOLE_ROW]
    if not sizes:
        return WHOLE_ROW
    common = 0
    for size in sizes:
        common = gcd(common, size)
    # A tensor with one magnitude per row fits every divisor of its rows.
    divides = all(f.cols % common == 0 for f in fits)
    return common if common >= SMALLEST_GROUP and divides else None


def judge_fusion(
    fits: Sequence[TensorFusion], packed: Sequence[str], claims: Claims, sampled: bool = False
) -> Fusion:
    """The verdict over a checkpoint.

    fits: what each linear tensor shows. packed: names of packed tensors. claims: of the files beside the weights.
    """
    ternary = [f for f in fits if f.state == "ternary"]
    other = [f for f in fits if f.state == "other"]
    checked = len(ternary) + len(other)
    scope = "the sampled rows of " if sampled else ""
    if packed and ternary:
        evidence = (f"{len(packed)} tensors are packed, {packed[0]} first", ternary[0].evidence)
        return Fusion("mixed", common_group(ternary), checked, evidence)
    if packed:
        return Fusion("packed", None, checked, (f"{len(packed)} tensors are packed, {packed[0]} first",))
    if ternary and other:
        disagreement = (
            f"{scope}{len(ternary)} linear tensors are ternary and {len(other)} are not",
            other[0].evidence,
            ternary[0].evidence,
        )
        return Fusion("mixed", common_group(ternary), checked, disagreement)
    if ternary:
        group = common_group(ternary)
        unit = "rows" if group == WHOLE_ROW else f"groups of {group}" if group else "groups"
        sentence = f"all {unit} in {scope}{len(ternary)} linear tensors hold only -s, 0 and +s"
        return Fusion("fused", group, checked, (sentence,))
    if not other:
        return Fusion("none", None, 0, ("no linear tensor has numbers that tell",))
    if claims.ternary:
        said = tuple(f"yet {claim}" for claim in claims.ternary[:2])
        fused = any(claim.fused for claim in claims.ternary)
        return Fusion("latent", claims.group_size, checked, (other[0].evidence, *said), fused)
    return Fusion("none", None, checked, (other[0].evidence, "and nothing beside the weights says ternary"))
