"""The arithmetic of schemes: rows of stored tensors to rows of the weight, in float32, rounded once at the end.

A code has at most eight significant bits, so that its product with a scale of bf16 or f16 is exact in float32, and the
rounding to the dtype that is asked for is the only one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.float_formats import F32, FORMATS, array_type, cast
from weightsmith.errors import MissingPackage
from weightsmith.schemes.formula import (
    Fan,
    Fields,
    FieldsDown,
    FourRows,
    GgufBlocks,
    Nested,
    Numbers,
    Operand,
    RowOf,
    flat_grid,
)
from weightsmith.schemes.numbers import FP4, values_of
from weightsmith.schemes.packed_words import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.arrays import Array, Bits, Singles
    from weightsmith.schemes.formula import Formula, Layout, Scale, Slices

# Weights that are made at a time: 512 kB of float32, which stay in a core's cache and need no fresh pages. Measured,
# 3.2 GB from FP8 blocks on two cores: 11.0, 9.7, 8.7 and 9.3 s of processor time with 2**20, 2**18, 2**17 and 2**16.
_STRIP = 1 << 17


class NotFiniteError(ValueError):
    """A number of `tensor` is none, or a weight would be none. tensor: None for the weight itself."""

    def __init__(self, tensor: str | None, what: str) -> None:
        self.tensor, self.what = tensor, what
        super().__init__(what)


class OutOfPlaceError(ValueError):
    """Numbers of `tensor` belong to the weight, and its definition has no place for them."""

    def __init__(self, tensor: str, what: str) -> None:
        self.tensor, self.what = tensor, what
        super().__init__(what)


class WrongOrderError(ValueError):
    """The order of the channels names a group that there is not. tensor: the one that holds it."""

    def __init__(self, tensor: str) -> None:
        self.tensor = tensor
        super().__init__("names a group of channels that there is not")


def plain_rows(formula: Formula, blocks: Sequence[Bits], first_row: int, target: str) -> Array:
    """Rows of the weight in dtype `target`.

    blocks: unsigned patterns of rows of the codes, then of each of `formula.operands`, one row for each of these.
    first_row: the row of the codes with which they begin, counted over all slices.

    Returns [rows, columns]; of a formula that is turned, [columns, rows] of each whole matrix, one after the other.
    Raises NotFiniteError, OutOfPlaceError and WrongOrderError.
    """
    count = len(blocks[0])
    step = max(1, _STRIP * count // max(1, blocks[0].size))
    out: Array | None = None
    for start in range(0, count, step):
        part = [block[start : start + step] for block in blocks]
        made = _rounded(_rows(formula, part, first_row + start), target)
        if formula.turned:
            return _turned(formula, blocks, first_row, target)
        if len(made) and out is None:
            out = np.empty((len(made) // len(part[0]) * count, made.shape[1]), made.dtype)
        if out is not None:
            fan = len(out) // count
            out[start * fan : start * fan + len(made)] = made
    return np.empty((0, 0), array_type(FORMATS[target])) if out is None else out


def lost_to_zero(formula: Formula, blocks: Sequence[Bits], first_row: int, made: Array, target: str) -> int:
    """How many numbers are zero in `made`, which `plain_rows` made of the same, that are not zero before the rounding.

    bfloat16 reaches as far down as the float32 that is rounded.
    """
    fmt = FORMATS[target]
    if fmt.least_exponent <= FORMATS["BF16"].least_exponent:
        return 0
    left = int(np.count_nonzero(made.view(fmt.word) & fmt.word.type(fmt.magnitude)))
    if left == made.size:
        return 0
    count = len(blocks[0])
    step = max(1, _STRIP * count // max(1, blocks[0].size))
    strips = ([block[start : start + step] for block in blocks] for start in range(0, count, step))
    rows = (_rows(formula, strip, first_row + at * step) for at, strip in enumerate(strips))
    return sum(int(np.count_nonzero(singles)) for singles in rows) - left


def hides_a_bias(formula: Formula, blocks: Sequence[Bits], first_row: int) -> bool:
    """Whether what a kernel adds to these rows is more than a bias of zero makes it; blocks as for `plain_rows`."""
    kernel = formula.kernel_bias
    if kernel is None:
        return False
    beside = dict(zip(formula.operands, blocks[1:], strict=True))
    offset = 0.0
    if kernel.offset is not None:
        offset = float(values_of(beside[kernel.offset][0], kernel.offset.tensor.dtype)[0])
    corrected = _read(formula.layout, blocks[0], first_row).sum(axis=1, dtype=np.float64) * offset
    added = beside[kernel.added][:, 0].view(np.int32).astype(np.float64)
    # It was rounded to an integer, and before that to a float32.
    return bool((np.abs(added + corrected) > 0.5 + np.abs(corrected) * 2.0**-22).any())


def _turned(formula: Formula, blocks: Sequence[Bits], first_row: int, target: str) -> Array:
    rows, count = formula.turned, len(blocks[0])
    strip = max(1, min(rows, _STRIP * count // max(1, blocks[0].size)))
    made: Array | None = None
    for first in range(0, count, rows):
        for at in range(first, first + rows, strip):
            part = [block[at : min(at + strip, first + rows)] for block in blocks]
            values = _rounded(_rows(formula, part, first_row + at), target)
            if made is None:
                made = np.empty((count // rows, values.shape[1], rows), values.dtype)
            made[first // rows, :, at - first : at - first + len(values)] = values.T
    return np.empty((0, 0), array_type(FORMATS[target])) if made is None else made.reshape(-1, rows)


def _rounded(singles: Singles, target: str) -> Array:
    result, _ = cast(singles, F32, FORMATS[target])
    fmt = FORMATS[target]
    patterns = result.view(fmt.word)
    if patterns.size and int((patterns & fmt.word.type(fmt.magnitude)).max()) >= fmt.infinity:
        raise NotFiniteError(None, f"some weights would be NaN or infinite in {target}")
    return result


def _rows(formula: Formula, blocks: Sequence[Bits], first_row: int) -> Singles:
    """Exact rows of the weight, as far as float32 is."""
    beside = dict(zip(formula.operands, blocks[1:], strict=True))
    codes = _read(formula.layout, blocks[0], first_row)
    _need_no_others(formula, beside)
    if formula.table is not None:
        codes = _numbers(formula.table, beside, first_row)[0][codes.astype(np.intp)]
    order = _order(formula, beside, first_row)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        if formula.zeros is not None:
            _combine(
                codes, _numbers(formula.zeros, beside, first_row), formula.zeros.width, order, np.subtract
            )
        if formula.scales or formula.divisors:
            scales, width = _scale(formula, beside, first_row)
            _combine(codes, scales, width, order, np.multiply)
        if formula.shift is not None:
            _combine(codes, _numbers(formula.shift, beside, first_row), formula.shift.width, order, np.add)
    return codes


def _need_no_others(formula: Formula, beside: Mapping[Operand, Bits]) -> None:
    """Raises OutOfPlaceError for offsets that are not zero."""
    for operand in formula.nil:
        block = beside[operand]
        # The sign of a zero is none.
        unsigned = block << block.dtype.type(1) if operand.tensor.dtype[0] in "BF" else block
        if unsigned.any():
            raise OutOfPlaceError(
                operand.tensor.name, "holds offsets that are not zero, which no loader uses"
            )


def _scale(formula: Formula, beside: Mapping[Operand, Bits], first_row: int) -> tuple[Singles, int]:
    """(the product of the scales, how many channels share one), of the narrowest of them."""
    wide = [scale.width for scale in formula.scales if _columns(scale) > 1]
    width = min(wide, default=1)
    product: Singles = np.ones((1, 1), np.float32)
    for at, scale in enumerate(formula.scales):
        values = _scale_values(scale, beside, first_row)
        if scale.width != width and values.shape[1] > 1:
            values = np.repeat(values, scale.width // width, axis=1)
        product = product * values if at else values
    for divisor in formula.divisors:
        product = product / _numbers(divisor, beside, first_row)
    if formula.divisor != 1.0:
        product = product / np.float32(formula.divisor)
    if not np.isfinite(product).all():
        row = first_row + int(np.flatnonzero(~np.isfinite(product).all(axis=1))[0])
        what = f"the scale of row {row} of {formula.codes.name} is NaN or infinite"
        raise NotFiniteError(formula.operands[0].tensor.name, what)
    return product, width


def _columns(scale: Scale) -> int:
    return flat_grid(scale.codes.tensor if isinstance(scale, Nested) else scale.tensor)[1]


def _scale_values(scale: Scale, beside: Mapping[Operand, Bits], first_row: int) -> Singles:
    if not isinstance(scale, Nested):
        return _numbers(scale, beside, first_row)
    table = _numbers(scale.table, beside, first_row)[0]
    codes = _numbers(scale.codes, beside, first_row).astype(np.intp)
    looked_up: Singles = table[codes] * _numbers(scale.factor, beside, first_row)
    return looked_up + np.float32(scale.offset)


def _order(formula: Formula, beside: Mapping[Operand, Bits], first_row: int) -> Array | None:
    """The group of each channel; None where they are in order."""
    if formula.order is None or not formula.scales:
        return None
    groups: Array = beside[formula.order][0].view(f"i{beside[formula.order].dtype.itemsize}")
    if not groups.size or (groups == -1).all():
        return None
    count, width = _columns(formula.scales[0]), formula.scales[0].width
    if count == 1 or np.array_equal(groups, np.arange(groups.size) // max(1, width)):
        return None
    if int(groups.min()) < 0 or int(groups.max()) >= count:
        raise WrongOrderError(formula.order.tensor.name)
    return groups.astype(np.intp)


def _combine(codes: Singles, values: Singles, width: int, order: Array | None, ufunc: np.ufunc) -> None:
    """codes [rows, columns] with values [rows, groups], in place."""
    rows, columns = codes.shape
    if values.shape[1] == 1:
        ufunc(codes, values, out=codes)
    elif order is not None:
        ufunc(codes, values[:, order], out=codes)
    elif values.shape[1] * width == columns:
        grouped = codes.reshape(rows, values.shape[1], width)
        ufunc(grouped, values[:, :, None], out=grouped)
    else:
        ufunc(codes, np.repeat(values, width, axis=1)[:, :columns], out=codes)


def _numbers(operand: Operand, beside: Mapping[Operand, Bits], first_row: int) -> Singles:
    block = beside[operand]
    if operand.rows > 1 and isinstance(operand.layout, Numbers):
        block = np.ascontiguousarray(block).reshape(len(block) * operand.rows, -1)
    return _read(operand.layout, block, first_row)


def _read(layout: Layout, block: Bits, first_row: int) -> Singles:
    """Rows of stored elements as numbers."""
    match layout:
        case Numbers(dtype, offset):
            numbers = values_of(block, dtype)
            return numbers - np.float32(offset) if offset else numbers
        case Fields():
            return _fields(layout, block)
        case FieldsDown(bits, each, offset):
            return _fields_down(block, bits, each, first_row) - np.float32(offset)
        case Fan():
            return _fan(layout, block)
        case FourRows(order):
            return _four_rows(block, order)
        case GgufBlocks(kind, count):
            return _gguf_blocks(block, kind, count)
        case RowOf(dtype, each, width):
            place = (np.arange(first_row, first_row + len(block)) % each) // width
            rows = block.reshape(len(block), -(-each // width), -1)
            return values_of(np.ascontiguousarray(rows[np.arange(len(block)), place]), dtype)
    return _slices(layout, block, first_row)


def _fields(layout: Fields, block: Bits) -> Singles:
    codes = fields_of(block, layout.bits, layout.count, dense=layout.dense, high_first=layout.high_first)
    if layout.fp4:
        looked_up: Singles = FP4[codes]
        return looked_up
    singles = codes.astype(np.float32)
    if layout.offset:
        singles -= np.float32(layout.offset)
    return singles


def _fields_down(block: Bits, bits: int, each: int, first_row: int) -> Singles:
    """[rows, words * groups] of 32-bit words to [rows, groups]."""
    rows, words = len(block), -(-each * bits // 32)
    held = block.reshape(rows, words, -1)
    start = np.arange(first_row, first_row + rows) % each * bits
    word, shift = start // 32, (start % 32).astype(np.uint64)
    taken = held[np.arange(rows), word].astype(np.uint64)
    following = held[np.arange(rows), np.minimum(word + 1, words - 1)].astype(np.uint64)
    both = taken | following << np.uint64(32)
    found: Singles = (both >> shift[:, None] & np.uint64((1 << bits) - 1)).astype(np.float32)
    return found


def _fan(layout: Fan, block: Bits) -> Singles:
    """[rows, columns] to [rows * fields, columns]."""
    rows, columns = block.shape
    out = np.empty((rows, len(layout.order), columns), np.float32)
    word = block.dtype.type
    for place, row in enumerate(layout.order):
        out[:, row] = block >> word(layout.bits * place) & word((1 << layout.bits) - 1)
    if layout.signed:
        half = np.float32(1 << layout.bits - 1)
        out -= np.where(out >= half, 2 * half, np.float32(0))
    return out.reshape(rows * len(layout.order), columns)


def _four_rows(block: Bits, order: Sequence[int]) -> Singles:
    """[rows, columns] of 16-bit words to [4 * rows, columns]."""
    rows, columns = block.shape
    codes = fields_of(block.view(np.uint8), 4, 4 * columns).reshape(rows, columns // 64, 4, 2, 32)
    out = np.empty(codes.shape, np.float32)
    out[..., list(order)] = codes
    singles: Singles = (
        out.reshape(rows, columns // 64, 4, 64).transpose(0, 2, 1, 3).reshape(4 * rows, columns)
    )
    return np.ascontiguousarray(singles)


def _gguf_blocks(block: Bits, kind: str, count: int) -> Singles:
    """By gguf's own code. Raises MissingPackage where it is not installed."""
    try:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError as error:
        fact = f"is not installed, and {kind} is packed as llama.cpp packs it"
        raise MissingPackage("gguf", fact, "pip install 'weightsmith[gguf]'") from error
    made: Singles = dequantize(np.ascontiguousarray(block), GGMLQuantizationType[kind.upper()])
    return made.reshape(len(block), count)


def _slices(layout: Slices, block: Bits, first_row: int) -> Singles:
    place = (np.arange(first_row, first_row + len(block)) // layout.rows * layout.bits).astype(np.uint8)
    codes = block.view(np.uint8) >> place[:, None] & np.uint8((1 << layout.bits) - 1)
    singles: Singles = codes.astype(np.float32) - np.float32(layout.offset)
    return singles
