"""What numbers were before they were stored as they are: a narrower dtype, or codes times scales ("quantized once").

Casting to a wider dtype leaves bits that are always 0. Quantization leaves few different values: b bits make at most
2^b in a group that has one scale, and a float format with m bits of mantissa at most 2^m different mantissas in all
that has one scale, whatever the exponents. Numbers that were never quantized show nearly all 128 mantissas of bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.names import without_indices
from weightsmith.value_finding import ValueFinding
from weightsmith.values.linear import is_linear
from weightsmith.values.unseen.sampling import evenly

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.checkpoint.arrays import Array, Singles
    from weightsmith.json_value import Json
    from weightsmith.values.unseen.sampling import Sampler

NARROWER, QUANTIZED = "dtype-history", "quantized-once"
# Groups along a row that have one scale; 0: the whole row.
GROUPS = (0, 256, 128, 64, 32, 16)
BITS = (2, 3, 4)
# A group must be so many times as long as the values it may have: chance leaves that few values in none.
_LEAST_LENGTH = 2
# int8 with one scale for a group: so near to multiples of (largest / 127) lie those of up to 24 steps, as a mean part
# of a step; of other numbers 0.25.
_STEPS, _CODE_LIMIT, NEAR = 127, 24, 0.06
_MOST_MATRICES, _ROWS = 6, 64
# The mantissa of bfloat16: 7 bits of a float32's pattern.
_MANTISSA_SHIFT, _MANTISSA_MASK = 16, 0x7F


@dataclass(frozen=True, slots=True)
class Grid:
    """kind: "int" of so many bits with one scale for each `group` elements of a row (0: the row), or "float" with so
    many bits of mantissa. most: the most different values, or mantissas, that one group has.
    """

    kind: str
    bits: int
    group: int
    most: int


def narrower_dtype(values: Singles, stored: str) -> str | None:
    """The dtype that all numbers of `values` fit into without loss, where that is narrower than `stored`.

    values: any shape. stored: "F32" or "F16"; bfloat16 has nothing narrower of its kind.
    """
    patterns = np.ascontiguousarray(values, np.float32).view(np.uint32)
    if not patterns.any():
        return None
    if not (patterns & 0xFFFF).any():
        return "BF16" if stored in ("F32", "F16") else None
    if stored == "F32":
        with np.errstate(over="ignore"):
            again = values.astype(np.float16).astype(np.float32)
        return "F16" if np.array_equal(again, values) else None
    return None


def quantized_grid(rows: Singles) -> Grid | None:
    """The coarsest grid that rows of a matrix, [rows, columns], lie on; None where they lie on none."""
    rows = rows[np.isfinite(rows).all(axis=1)] if rows.size else rows
    rows = rows[rows.max(axis=1) > rows.min(axis=1)] if rows.size else rows
    if not rows.size:
        return None
    for bits in BITS:
        for group in GROUPS:
            most = _most_values(rows, group)
            if most and most <= 1 << bits and (group or rows.shape[1]) >= _LEAST_LENGTH << bits:
                return Grid("int", bits, group, most)
    found = _mantissas(rows)
    if found <= 8 and rows.shape[1] >= 64:
        return Grid("float", 3 if found > 4 else 2, 0, found)
    for group in GROUPS:
        if _is_int8(rows, group):
            return Grid("int", 8, group, 2 * _STEPS + 1)
    return None


def _grouped(rows: Singles, group: int) -> Singles | None:
    """[groups, elements]; None where rows do not divide so."""
    length = group or rows.shape[1]
    if rows.shape[1] % length or (group and length == rows.shape[1]):
        return None
    return rows.reshape(-1, length)


def _most_values(rows: Singles, group: int) -> int:
    """How many different values the richest group has; 0 where rows do not divide so."""
    groups = _grouped(rows, group)
    if groups is None:
        return 0
    ordered = np.sort(groups, axis=1)
    return int((ordered[:, 1:] != ordered[:, :-1]).sum(axis=1).max()) + 1


def _mantissas(rows: Singles) -> int:
    """How many different mantissas, as bfloat16 has them, the row of most has; zeros have none."""
    patterns = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    found = []
    for row in patterns:
        mantissas = row[row & 0x7FFFFFFF != 0] >> _MANTISSA_SHIFT & _MANTISSA_MASK
        found.append(np.unique(mantissas).size)
    return max(found)


def _is_int8(rows: Singles, group: int) -> bool:
    """Whether the small ones of each group are multiples of a 127th of its largest, up to rounding."""
    groups = _grouped(rows, group)
    if groups is None or groups.shape[1] < 32:
        return False
    step = np.abs(groups).max(axis=1, keepdims=True).astype(np.float64) / _STEPS
    codes = groups / np.maximum(step, 1e-30)
    small = np.abs(codes[np.abs(codes) < _CODE_LIMIT])
    apart = np.abs(small - np.round(small))
    return small.size >= 256 and float(apart[small > 0.5].mean() if (small > 0.5).any() else 1.0) < NEAR


def tell_history(sampler: Sampler) -> Iterator[ValueFinding]:
    """What the matrices that are stored as plain numbers were before. Raises what `Sampler.rows` raises."""
    names = [name for name, t in sampler.view.tensors.items() if is_linear(t) and sampler.readable(name)]
    plain = [name for name in names if name not in sampler.modules]
    chosen = [plain[i] for i in evenly(len(plain), _MOST_MATRICES)]
    if not chosen:
        return
    stored = {sampler.view.tensors[name].dtype for name in chosen}
    read = [sampler.spread(name, _ROWS) for name in chosen]
    pattern = ", ".join(dict.fromkeys(without_indices(name) for name in chosen[:2]))
    if len(stored) == 1:
        dtype = stored.pop()
        before = {narrower_dtype(rows, dtype) for rows in read}
        only = before.pop() if len(before) == 1 else None
        if only is not None:
            says = f"the numbers are {only} stored as {dtype}: each fits into the narrower dtype without loss"
            yield ValueFinding(NARROWER, "told", only, says, pattern, 1.0, None)
    yield from _of_grids(read, pattern)


def _of_grids(read: Sequence[Array], pattern: str) -> Iterator[ValueFinding]:
    grids = [quantized_grid(rows) for rows in read]
    told = [grid for grid in grids if grid is not None]
    if 2 * len(told) <= len(grids):
        return
    grid = max(told, key=lambda one: (one.kind, one.bits))
    count = f"{len(told)} of {len(grids)} matrices that were looked at"
    if grid.kind == "float":
        says = f"these were quantized once, to a float of {grid.bits} bits of mantissa: {count} show {grid.most} of 128"
    else:
        scope = f"groups of {grid.group}" if grid.group else "rows"
        says = f"these were quantized once, to {grid.bits} bits, one scale for {scope}: {count} show it"
    value: Json = {"kind": grid.kind, "bits": grid.bits, "group": grid.group}
    yield ValueFinding(QUANTIZED, "told", value, says, pattern, float(grid.most), None)
