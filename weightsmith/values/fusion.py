"""Are the weights ternary? The verdict on the numbers themselves, with the largest group size that they allow."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.values.linear import SMALLEST_GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.values.claims import Claims
    from weightsmith.values.floats import Bits, FloatFormat

# Numbers beyond the first of their group that must share its magnitude before a tensor counts as ternary.
# Among latent bf16 weights two neighbours coincide about once in a hundred times: 32 times running never
# happens.
_COINCIDENCES = 32

WHOLE_ROW = -1


@dataclass(frozen=True, slots=True)
class TensorFusion:
    """What one linear weight shows. state: "ternary", "other", or "silent" (constant, all zero, too small to tell).

    group: the largest group size that fits, WHOLE_ROW when every row has one magnitude; None unless ternary.
    evidence: the stretch that rules ternary out, or the sentence that every group agrees.
    """

    tensor: str
    cols: int
    state: str
    group: int | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Fusion:
    """The verdict over a checkpoint. evidence: sentences for people, most telling first."""

    state: str
    group_size: int | None
    tensors_checked: int
    evidence: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """The `fusion` object of the JSON contract."""
        return {
            "state": self.state,
            "group_size": self.group_size,
            "tensors_checked": self.tensors_checked,
        }


class TernaryTest:
    """Looks at one [rows, cols] tensor block by block and ends with its TensorFusion.

    A group size g fits when every group holds one non-zero magnitude. Two neighbouring non-zero channels i,
    i+1 of different magnitude lie in different groups, so g divides i+1. Every g that fits therefore divides
    the greatest common divisor of cols and all such positions; the test keeps that divisor, and each block is
    checked against it. A group of fewer than SMALLEST_GROUP channels proves nothing, so below that it is
    over.
    """

    def __init__(self, tensor: str, cols: int, fmt: FloatFormat) -> None:
        self._tensor, self._cols, self._format = tensor, cols, fmt
        self._group = cols
        self._nonzero = self._nonzero_groups = 0
        self._seen_zero = self._seen_positive = self._seen_negative = False
        self._counterexample = ""

    @property
    def undecided(self) -> bool:
        return not self._counterexample

    def see(self, first_row: int, bits: Bits) -> None:
        """bits: whole rows, patterns with their signs."""
        one, sign = bits.dtype.type(1), bits.dtype.type(self._format.sign)
        magnitudes = bits & bits.dtype.type(self._format.magnitude)
        self._refine(first_row, magnitudes)
        if self._counterexample:
            return
        below = bits - one  # +0.0 wraps to the largest word and -0.0 to the largest positive one
        self._seen_positive = self._seen_positive or int(below.min()) < int(sign) - 1
        self._seen_negative = self._seen_negative or int(bits.max()) > int(sign)
        nonzero = int(np.count_nonzero(magnitudes))
        self._seen_zero = self._seen_zero or nonzero < magnitudes.size
        grouped = magnitudes.reshape(-1, self._group)
        self._nonzero += nonzero
        self._nonzero_groups += int(np.count_nonzero(grouped.max(axis=1)))

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
                # The row that has no group size of its own tells best; without one, two rows disagree.
                culprits = (
                    r for r in range(len(broken)) if _next_group(broken[r : r + 1], self._group) is None
                )
                worst = next(culprits, 0)
                row = int(where[worst]) + first_row
                self._counterexample = _describe_broken_group(self._tensor, row, broken[worst])
                return
            self._group = smaller

    def verdict(self) -> TensorFusion:
        if self._counterexample:
            return TensorFusion(self._tensor, self._cols, "other", None, self._counterexample)
        three_values = self._seen_zero and self._seen_positive and self._seen_negative
        # Counted with the group size of the moment, which only shrinks: a lower bound.
        if not three_values or self._nonzero - self._nonzero_groups < _COINCIDENCES:
            return TensorFusion(self._tensor, self._cols, "silent", None, "")
        group = WHOLE_ROW if self._group == self._cols else self._group
        evidence = f"every group of {self._group} channels in {self._tensor} holds one magnitude"
        return TensorFusion(self._tensor, self._cols, "ternary", group, evidence)


def _rows_with_broken_groups(magnitudes: Bits, group: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Indices of the rows in which some group holds two different non-zero magnitudes."""
    one = magnitudes.dtype.type(1)
    grouped = magnitudes.reshape(len(magnitudes), -1, group)
    largest = grouped.max(axis=2)
    # Zero minus one wraps to the largest word, so the minimum skips it; an all-zero group wraps on both
    # sides.
    smallest = (grouped - one).min(axis=2) + one
    return np.flatnonzero((largest != smallest).any(axis=1))


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


def judge(
    fits: Sequence[TensorFusion], packed: Sequence[str], claims: Claims, sampled: bool = False
) -> Fusion:
    """The state of a checkpoint from its linear tensors, its packed tensors (by name) and what is said of it."""
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
        return Fusion("latent", claims.group_size, checked, (other[0].evidence, *said))
    return Fusion("none", None, checked, (other[0].evidence, "and nothing beside the weights says ternary"))
