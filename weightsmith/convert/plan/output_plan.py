"""The whole output before any data is read: every file, header and offset; and the checks on it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Checkpoint, Storage, Tensor
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.layout import row_major
from weightsmith.convert.plan.header import FileLayout, lay_out, size_of
from weightsmith.convert.plan.shards import SINGLE_FILE, split
from weightsmith.errors import ConversionRefused
from weightsmith.values.blocks import grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.protocol import Output, Recipe, RecipeStep


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """The weights files of the output.

    steps: the work.
    shards: file -> its tensors.
    files: file -> its layout, in shard order.
    file_of: tensor -> file.
    finite: NaN and infinity among the source's numbers stop the work.
    """

    steps: tuple[RecipeStep, ...]
    shards: Mapping[str, tuple[Output, ...]]
    files: Mapping[str, FileLayout]
    file_of: Mapping[str, str]
    finite: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes of all weights files."""
        return sum(layout.nbytes for layout in self.files.values())

    @property
    def bytes_read(self) -> int:
        """Bytes of source tensors that the steps read."""
        stacked = sum(_rows_bytes(r.tensor, r.stop - r.start) for s in self.steps for r in s.inputs)
        return stacked + sum(companion.tensor.nbytes for s in self.steps for companion in s.companions)

    def start(self, output: Output) -> int:
        """Absolute byte of the tensor's first element in its file."""
        return self.files[self.file_of[output.name]].starts[output.name]


def plan_output(recipe: Recipe, max_shard_size: int, *, finite: bool = True) -> OutputPlan:
    """Names, shapes and row counts are checked here. Raises ConversionRefused."""
    outputs = [output for step in recipe.steps for output in step.outputs]
    _validate(recipe, outputs)
    shards = {file: tuple(held) for file, held in split(outputs, max_shard_size).items()}
    files = {file: lay_out(held, recipe.metadata) for file, held in shards.items()}
    file_of = {output.name: file for file, held in shards.items() for output in held}
    return OutputPlan(recipe.steps, shards, files, file_of, finite)


def _validate(recipe: Recipe, outputs: list[Output]) -> None:
    if not outputs:
        raise ConversionRefused(
            SINGLE_FILE, "nothing would be written", "check the source with `weightsmith inspect`"
        )
    names = [output.name for output in outputs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConversionRefused(twice, "would be written twice", "rename one of the source tensors")
    for step in recipe.steps:
        _validate_step(step)


def _validate_step(step: RecipeStep) -> None:
    """Each unit of rows that comes in makes the same part of what goes out; a plain copy also keeps every byte."""
    for output in step.outputs:
        if not _holds(step, output):
            raise ConversionRefused(
                output.name,
                f"its shape {list(output.shape)} does not hold the {step.rows} rows that make it",
                "report this as a fault of the converter",
            )
    for companion in step.companions:
        rows, units = grid(companion.tensor)[0], -(-step.rows // companion.each)
        if not (units - 1) * companion.rows < rows <= units * companion.rows and (rows or step.rows):
            raise ConversionRefused(
                companion.tensor.name,
                f"its shape {list(companion.tensor.shape)} does not go with the {step.rows} rows of "
                f"{step.inputs[0].tensor.name}",
                "the checkpoint is damaged or of another layout",
            )


def _holds(step: RecipeStep, output: Output) -> bool:
    if step.data is not None:
        return not step.inputs and len(step.outputs) == 1 and len(step.data) == size_of(output)
    if step.kernel is None:
        held = sum(_rows_bytes(part.tensor, part.stop - part.start) for part in step.inputs)
        return held == size_of(output) and len(step.outputs) == 1
    units = max(1, step.rows // step.together)
    return step.rows % step.together == 0 and prod(output.shape) % units == 0


def _rows_bytes(tensor: Tensor, rows: int) -> int:
    return (rows * grid(tensor)[1] * BITS[tensor.dtype] + 7) // 8


def made_of(plan: OutputPlan) -> dict[str, tuple[str, object]]:
    """Of each tensor that is made of one other alone, row by row: its name → (the source's tensor, how it is made)."""
    found: dict[str, tuple[str, object]] = {}
    for step in plan.steps:
        if len(step.outputs) == len(step.inputs) == 1 and not step.companions:
            (output,), (rows,) = step.outputs, step.inputs
            if output.shape == rows.tensor.shape and step.rows == grid(rows.tensor)[0]:
                found[output.name] = rows.tensor.name, (step.kernel, output.dtype)
    return found


def as_checkpoint(plan: OutputPlan, source: Checkpoint, target: Place) -> Checkpoint:
    """The table that opening the finished output must give, with the source's folder for side files."""
    tensors: dict[str, Tensor] = {}
    for file, outputs in plan.shards.items():
        starts = plan.files[file].starts
        for output in sorted(outputs, key=lambda o: starts[o.name]):
            storage = Storage(file, starts[output.name], size_of(output))
            strides = row_major(output.shape)
            tensors[output.name] = Tensor(output.name, output.dtype, output.shape, storage, 0, strides)
    sizes = {file: layout.nbytes for file, layout in plan.files.items()}
    return Checkpoint(target, source.root, "safetensors", sizes, tensors, None, {"format": "pt"}, ())
