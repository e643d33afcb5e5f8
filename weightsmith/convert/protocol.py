"""What a converter is: it recognises its input, and turns it into a recipe. Composed, never subclassed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.values.claims import Claims
    from weightsmith.values.value_survey import ValueSurvey


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the source before any converter is chosen.

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
class Beside:
    """A tensor whose rows go along with those of the stack, such as scales: row r of the stack with row r // each.

    each 1: a row of its own for every row; 128: blocks of rows share one; all rows of the stack: one for all.
    """

    tensor: Tensor
    each: int = 1


class Kernel(Protocol):
    """Row-wise arithmetic: each row of the result depends on the same row of the inputs alone."""

    def __call__(self, blocks: tuple[NDArray[Any], ...], first_row: int) -> tuple[NDArray[Any], ...]:
        """Unsigned bit patterns of a row range that starts at `first_row` -> one array per output.

        blocks: [rows, cols] of the stack, then of each tensor beside it, one row for each row of the stack.
        Each result has the dtype of its output and, unless the step says otherwise, as many rows. Raises
        ConversionRefused.
        """
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """Outputs that are made together from stacked rows of source tensors.

    kernel None: one output, whose bytes are those of the stacked rows. Otherwise every output has as many
    grid rows as the stack; or, where `together` rows cannot be told apart (a transposition), the same number
    for each `together` of them. data: the bytes of the one output, where it is made of no source tensor.
    """

    outputs: tuple[Output, ...]
    inputs: tuple[Rows, ...]
    kernel: Kernel | None = None
    beside: tuple[Beside, ...] = ()
    together: int = 1
    data: bytes | None = None

    @property
    def rows(self) -> int:
        """Of the stack."""
        return sum(part.stop - part.start for part in self.inputs)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a converter wants written.

    options: as resolved, for the manifest. dropped: source tensor -> why nothing of it is written.
    config: dotted config key -> new value, REMOVED to delete it. left_out: side file -> why it is not copied.
    files: side files that come with the weights, name -> bytes. notes: what the user should know.
    """

    options: Mapping[str, object]
    steps: tuple[Step, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


REMOVED = object()


class Converter(Protocol):
    """One way to make a checkpoint out of another."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Mapping[str, str]:
        """Names of the `--set` options that it takes, each with a line of help."""
        ...

    def recognise(self, evidence: Evidence) -> str | None:
        """Why this converter is the one for this source, or None."""
        ...

    def plan(self, evidence: Evidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        """From headers and small samples alone. dtype: safetensors name asked for, None to keep each tensor's own.

        Raises ConversionRefused where the source is not what the converter needs.
        """
        ...


def whole(tensor: Tensor, rows: int) -> tuple[Rows, ...]:
    """All rows of a tensor that has `rows` of them."""
    return (Rows(tensor, 0, rows),)


__all__ = [
    "REMOVED",
    "Beside",
    "Converter",
    "Evidence",
    "Kernel",
    "Output",
    "Recipe",
    "Rows",
    "Step",
    "whole",
]
