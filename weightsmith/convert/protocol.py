"""What a converter is: it recognises its input, and turns it into a recipe. Composed, never subclassed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.arrays import Array, Bits
    from weightsmith.values.claims import Claims
    from weightsmith.values.value_survey import ValueSurvey


# What a kernel reads, as unsigned bit patterns, and what it makes.
Blocks: TypeAlias = "tuple[Bits, ...]"
Arrays: TypeAlias = "tuple[Array, ...]"


@dataclass(frozen=True, slots=True)
class SourceEvidence:
    """What is known of the source before any converter is chosen.

    config: its config.json; None when there is none.
    claims: what the files beside the weights say of its quantization.
    survey: the sampled verdict on the numbers, made at the first call and kept.
    """

    checkpoint: Checkpoint
    config: Mapping[str, object] | None
    claims: Claims
    survey: Callable[[], ValueSurvey]


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor to be written. dtype is a safetensors name."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows start:stop of a source tensor seen as a grid: leading axes flattened, the last one kept."""

    tensor: Tensor
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Companion:
    """A tensor whose rows go along with those of the stack, such as scales: row r of the stack with the `rows` rows
    from (r // each) * rows on, as one long row.

    each: 1 where every row has a row of its own; 128 where blocks of 128 rows share one; all rows of the stack
        where one row serves all.
    """

    tensor: Tensor
    each: int = 1
    rows: int = 1


class Kernel(Protocol):
    """Row-wise arithmetic: each row of the result depends on the same row of the inputs alone."""

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        """Unsigned bit patterns of a range of rows -> one array per output.

        blocks: [rows, cols] of the stack, then of each companion, one row for each row of the stack; they are not
        written to.
        first_row: the row of the stack with which the range begins.

        Each result has the dtype of its output and, unless the step says otherwise, as many rows. Raises
        ConversionRefused.
        """
        ...


@runtime_checkable
class RoundingKernel(Kernel, Protocol):
    """A kernel that can make zero of numbers that are not, and tells of how many."""

    def made_zero(self, blocks: Blocks, first_row: int, arrays: Arrays) -> int:
        """How many nonzero numbers are zero in `arrays`, which `self(blocks, first_row)` made."""
        ...


@runtime_checkable
class FillingKernel(Kernel, Protocol):
    """A kernel of one output that can make it where it is to lie."""

    def fill(self, blocks: Blocks, first_row: int, out: Bits) -> None:
        """Writes what a call returns into `out`: the output's patterns, contiguous, as many rows as the blocks have."""
        ...


@dataclass(frozen=True, slots=True)
class RecipeStep:
    """Outputs that are made together from stacked rows of source tensors.

    inputs: the rows that are stacked.
    kernel: what makes the outputs of them. None: there is one output, whose bytes are those of the stacked rows.
    companions: the tensors whose rows go along with the stack's.
    together: how many rows of the stack must be made at once, as for a transposition. Each `together` rows of the
        stack make the same number of elements of an output, in its order.
    data: the bytes of the one output, where it is made of no source tensor.
    """

    outputs: tuple[Output, ...]
    inputs: tuple[Rows, ...]
    kernel: Kernel | None = None
    companions: tuple[Companion, ...] = ()
    together: int = 1
    data: bytes | None = None

    @property
    def rows(self) -> int:
        """How many rows the stack has."""
        return sum(part.stop - part.start for part in self.inputs)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a converter wants written.

    options: as resolved, for the manifest.
    dropped: source tensor -> why nothing of it is written.
    config: dotted config key -> its new value; REMOVED deletes it.
    left_out: side file -> why it is not copied.
    files: side files that come with the weights, name -> bytes.
    notes: what the user should know.
    metadata: `__metadata__` entries of the weights files, beside or instead of `format`.
    told: what is known of the numbers once all of them are written, in words.
    """

    options: Mapping[str, object]
    steps: tuple[RecipeStep, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    told: Callable[[], tuple[str, ...]] = tuple


REMOVED = object()


class Converter(Protocol):
    """One way to make a checkpoint out of another."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Mapping[str, str]:
        """Names of the `--set` options that it takes, each with a line of help."""
        ...

    def recognise(self, evidence: SourceEvidence) -> str | None:
        """Why this converter is the one for this source, or None."""
        ...

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        """What is to be written, from headers and small samples alone.

        options: the `--set` pairs, of which every key is one of `self.options`.
        dtype: the safetensors name that was asked for; None to keep each tensor's own.

        Raises ConversionRefused where the source is not what the converter needs.
        """
        ...


@runtime_checkable
class FromSeveralPlaces(Protocol):
    """A converter whose source is more than what SRC names, such as an adapter and its base."""

    def source(self, named: Path, options: Mapping[str, str]) -> Checkpoint:
        """All of it as one table; files outside its `root` have whole names.

        named: SRC. Raises what `open_checkpoint` raises, and ConversionRefused.
        """
        ...


def whole(tensor: Tensor, rows: int) -> tuple[Rows, ...]:
    """All rows of a tensor that has `rows` of them."""
    return (Rows(tensor, 0, rows),)


__all__ = [
    "REMOVED",
    "Arrays",
    "Blocks",
    "Companion",
    "Converter",
    "FromSeveralPlaces",
    "Kernel",
    "Output",
    "Recipe",
    "RecipeStep",
    "RoundingKernel",
    "Rows",
    "SourceEvidence",
    "whole",
]
