"""How rows of a plain weight are made of rows of stored tensors: data alone, which `arithmetic` computes.

Every scheme here is one formula: (code - zero) * scale + shift. What differs is where the numbers lie. A `Layout` says
how one block of stored rows is read as numbers; an `Operand` says which rows of a tensor go along with which rows of
the codes. So a weight can be made a few rows at a time, whatever its size, and the same words describe its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.table import Tensor

WORD_BITS = 32


@dataclass(frozen=True, slots=True)
class Numbers:
    """Each element is a number. dtype: a safetensors name; that of the tensor, or what its bytes really are.

    offset: is subtracted.
    """

    dtype: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Fields:
    """Codes of a few bits along the row, lowest bits first: code j of a row is a field of one of its words.

    count: codes of a row; what is left of its last word is unused.
    offset: is subtracted.
    dense: a code may cross from one word into the next; else a word holds 32 // bits whole ones.
    high_first: the first of two codes stands in the high half of a byte.
    fp4: the code is a 4-bit float (E2M1) and no integer.
    """

    bits: int
    count: int
    offset: int = 0
    dense: bool = True
    high_first: bool = False
    fp4: bool = False


@dataclass(frozen=True, slots=True)
class FieldsDown:
    """Codes of a few bits down the columns: row r of the weight is field r % each of the words beside it."""

    bits: int
    each: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Fan:
    """A stored row holds several rows of the weight, each as a field of its elements.

    order: field p holds row order[p].
    signed: fields are in two's complement.
    """

    bits: int
    order: tuple[int, ...]
    signed: bool = False


@dataclass(frozen=True, slots=True)
class RowOf:
    """Numbers of which several rows come at once: row r of the weight takes row (r % each) // block of these."""

    dtype: str
    each: int
    block: int


@dataclass(frozen=True, slots=True)
class FourRows:
    """A stored row of 16-bit words holds four rows of 4-bit codes: of 64 words the first 16 are of row 0, and so on.

    order: the channels of 32 consecutive codes.
    """

    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GgufBlocks:
    """Blocks of bytes as ggml packs them. kind: its name for the type. count: numbers of a row."""

    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Slices:
    """The weight is stacked out of `rows` rows at a time: slice s is field s of the stored bytes."""

    bits: int
    rows: int
    offset: int = 0


Layout: TypeAlias = Numbers | Fields | FieldsDown | Fan | FourRows | GgufBlocks | RowOf | Slices


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor whose rows go along with those of the codes.

    tensor: seen as a grid, leading axes flattened; it may be a view of the stored one.
    layout: how its rows are read.
    width: consecutive input channels that share one of its numbers; it does not matter where a row has one number.
    each, rows: row r of the codes goes with the `rows` rows from (r // each) * rows on.
    """

    tensor: Tensor
    layout: Layout
    width: int = 1
    each: int = 1
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Nested:
    """Numbers that are quantized themselves: table[codes] * factor + offset."""

    codes: Operand
    table: Operand
    factor: Operand
    offset: float

    @property
    def width(self) -> int:
        """As for an operand."""
        return self.codes.width


Scale: TypeAlias = Operand | Nested


@dataclass(frozen=True, slots=True)
class KernelBias:
    """What an integer kernel adds to its sums: round(bias / scale - offset * the sum of the row's codes).

    It is kept here where the bias itself stands nowhere else.
    added: one for each row. offset: that of the input, one number; None for zero.
    """

    added: Operand
    offset: Operand | None


@dataclass(frozen=True, slots=True)
class Formula:
    """(code - zero) * scale + shift, in float32 and in this order.

    codes, layout: the tensor of the codes, and how it is read.
    scales: are multiplied with one another first, from left to right.
    divisors, divisor: the scales are divided by these.
    zeros: in the groups of the scales. shift: is added to the product.
    order: the group of each input channel, one row; -1 alone means that they are in order.
    table: what each code stands for, one row.
    slices: how often the rows of the codes are gone through, for `Slices`.
    turned: rows of one matrix, which is written transposed; 0 for as it is.
    kernel_bias: see KernelBias.
    nil: offsets that the definition has no place for: they must be zero.
    """

    codes: Tensor
    layout: Layout
    scales: tuple[Scale, ...] = ()
    divisors: tuple[Operand, ...] = ()
    divisor: float = 1.0
    zeros: Operand | None = None
    shift: Operand | None = None
    order: Operand | None = None
    table: Operand | None = None
    slices: int = 1
    turned: int = 0
    kernel_bias: KernelBias | None = None
    nil: tuple[Operand, ...] = ()

    @property
    def operands(self) -> tuple[Operand, ...]:
        """Every tensor that goes along with the codes, each once."""
        return tuple(dict.fromkeys(self._operands()))

    def _operands(self) -> Iterator[Operand]:
        for scale in self.scales:
            yield from (scale.codes, scale.table, scale.factor) if isinstance(scale, Nested) else (scale,)
        yield from self.divisors
        yield from (found for found in (self.zeros, self.shift, self.order, self.table) if found is not None)
        if self.kernel_bias is not None:
            yield self.kernel_bias.added
            yield from (self.kernel_bias.offset,) if self.kernel_bias.offset is not None else ()
        yield from self.nil


@dataclass(frozen=True, slots=True)
class Fault:
    """Why no weight can be made of a module's tensors, though its scheme is known.

    subject: the tensor, or the file, that it is about.
    """

    subject: str
    fact: str
    way_out: str


def flat_grid(tensor: Tensor) -> tuple[int, int]:
    """A tensor as [rows, columns]: leading axes flattened, the last one kept; a vector is one column."""
    shape = tensor.shape
    return (prod(shape), 1) if len(shape) < 2 else (prod(shape[:-1]), shape[-1])


def transposed(tensor: Tensor) -> Tensor:
    """A matrix seen from its other side; nothing is moved."""
    return replace(tensor, shape=tensor.shape[::-1], strides=tensor.strides[::-1])


def regrouped(tensor: Tensor, *shape: int) -> Tensor:
    """A contiguous tensor's numbers under another shape."""
    strides = tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return replace(tensor, shape=shape, strides=strides)


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor seen in the grid of another that has as many numbers."""
    return replace(tensor, shape=other.shape, strides=other.strides)


def one_row(tensor: Tensor, layout: Layout, rows: int) -> Operand:
    """A tensor that goes along, whole, with each of the `rows` rows of the codes."""
    return Operand(regrouped(tensor, 1, tensor.elements), layout, each=max(1, rows))


def packed_down(tensor: Tensor, bits: int, offset: int, width: int, *, dense: bool) -> Operand:
    """Codes that are packed down the columns into 32-bit words, one column for each group of `width` channels."""
    words = bits // gcd(bits, WORD_BITS) if dense else 1
    each = words * WORD_BITS // bits if dense else WORD_BITS // bits
    return Operand(tensor, FieldsDown(bits, each, offset), width, each, words)
