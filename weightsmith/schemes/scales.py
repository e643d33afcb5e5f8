"""Which numbers of a weight share a scale: one for all, one a matrix, one a row, groups of channels, or blocks."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault, Numbers, Operand, RowOf, one_row, regrouped
from weightsmith.schemes.packed_module import AS_IT_IS, PER_ROW, PER_TENSOR
from weightsmith.schemes.stated import ScaleBlock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.table import Tensor

# What scales may be stored as. A U8 among them is the exponent of an E8M0.
DTYPES = frozenset({"BF16", "F16", "F32", "F8_E8M0", "F8_E4M3", "U8"})


@dataclass(frozen=True, slots=True)
class Spread:
    """Scales, and the group of a PackedWeight that they make."""

    operand: Operand
    group: int


def scale_dtype(scale: Tensor) -> str:
    """What the scale's bytes are."""
    return "F8_E8M0" if scale.dtype == "U8" else scale.dtype


def spread(
    weight: str, shape: tuple[int, ...], scale: Tensor, stated: ScaleBlock | None = None
) -> Spread | Fault:
    """How `scale` lies over a weight of this shape, whose codes have one row for each of the weight's.

    Where several answers fit, `stated` decides; a grid that what is stated contradicts is a fault.
    """
    if scale.dtype not in DTYPES:
        fact = f"is {scale.dtype} {list(scale.shape)}: no scales of {weight}"
        return Fault(scale.name, fact, f"store them as F32; {AS_IT_IS}")
    few = _few(shape, scale)
    if few is not None and stated is not None and _is_one_block(shape, scale, stated):
        return Spread(few.operand, stated.cols)
    return few or _grid(weight, shape, scale, stated)


def _is_one_block(shape: tuple[int, ...], scale: Tensor, block: ScaleBlock) -> bool:
    """Whether a matrix is no larger than a block: its one number is that of a block, and not one for all."""
    return scale.shape == (1, 1) and shape[-2] <= block.rows and shape[-1] <= block.cols


def by_column(shape: tuple[int, ...], scale: Tensor) -> Spread | None:
    """One scale for each column of each matrix; None where there are not as many."""
    *leading, rows, columns = shape
    if list(scale.shape) not in ([*leading, 1, columns], [*leading, columns, 1]) or not scale.contiguous:
        return None
    matrices = prod(leading)
    operand = Operand(regrouped(scale, matrices, columns), Numbers(scale_dtype(scale)), each=rows)
    return Spread(operand, 1)


def _few(shape: tuple[int, ...], scale: Tensor) -> Spread | None:
    """One scale for all, for each matrix, or for each row."""
    matrices, rows = prod(shape[:-2]), shape[-2]
    numbers = Numbers(scale_dtype(scale))
    if scale.elements == 1:
        return Spread(one_row(scale, numbers, matrices * rows), PER_TENSOR)
    bare = tuple(size for size in scale.shape if size != 1)
    leading = tuple(size for size in shape[:-2] if size != 1)
    if matrices > 1 and bare == leading:
        return Spread(Operand(regrouped(scale, matrices, 1), numbers, each=rows), PER_TENSOR)
    by_row = scale.shape in ((*shape[:-1], 1), shape[:-1])
    if by_row and scale.contiguous:
        return Spread(Operand(regrouped(scale, matrices * rows, 1), numbers), PER_ROW)
    return None


def _grid(weight: str, shape: tuple[int, ...], scale: Tensor, stated: ScaleBlock | None) -> Spread | Fault:
    """Groups of channels, or blocks that begin anew with each matrix."""
    *leading, rows, columns = shape
    fits = len(scale.shape) >= 2 and list(scale.shape[:-2]) == leading
    if not fits:
        return _unfit(weight, shape, scale, "does not divide it", stated)
    down, across = scale.shape[-2:]
    blocks = [stated] if stated is not None else list(_possible(rows, columns, down, across))
    for block in blocks:
        if (down, across) == (-(-rows // block.rows), -(-columns // block.cols)):
            return Spread(_blocks(scale, rows, down, block), block.cols)
    return _unfit(weight, shape, scale, "does not divide it", stated)


def _possible(rows: int, columns: int, down: int, across: int) -> Iterator[ScaleBlock]:
    """The blocks that formats have, when nobody states one: squares, and groups within one row."""
    yield ScaleBlock(128, 128)
    if down == rows and across:
        if columns % across == 0:
            yield ScaleBlock(1, columns // across)
        yield ScaleBlock(1, 32)
    for power in range(12, 3, -1):
        yield ScaleBlock(1 << power, 1 << power)


def _blocks(scale: Tensor, rows: int, down: int, block: ScaleBlock) -> Operand:
    dtype = scale_dtype(scale)
    if len(scale.shape) > 2 and rows % block.rows:
        return Operand(scale, RowOf(dtype, rows, block.rows), block.cols, each=rows, rows=down)
    return Operand(scale, Numbers(dtype), block.cols, each=min(block.rows, rows))


def _unfit(weight: str, shape: tuple[int, ...], scale: Tensor, fact: str, stated: ScaleBlock | None) -> Fault:
    told = f" into the blocks of {stated.rows} x {stated.cols} that its config states" if stated else ""
    what = f"its shape {list(scale.shape)} does not divide {weight} of {list(shape)}{told or ' into equal blocks'}"
    turned = (*scale.shape[:-2], *scale.shape[-2:][::-1])
    if stated is not None and len(turned) >= 2 and turned[-2:] == (
        -(-shape[-2] // stated.rows), -(-shape[-1] // stated.cols)
    ):  # fmt: skip
        return Fault(scale.name, f"{what}, but would transposed", f"store it as {list(turned)}; {AS_IT_IS}")
    way_out = "correct the block size in config.json, if the scales are right"
    return Fault(scale.name, what, f"{way_out}; {AS_IT_IS}")
