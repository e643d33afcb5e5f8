"""What a conversion did, or in a dry run would do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.values.blocks import grid

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.table import Problem
    from weightsmith.convert.plan.conversion_plan import ConversionPlan
    from weightsmith.convert.plan.output_config import ConfigChange
    from weightsmith.convert.protocol import Recipe, RecipeStep
    from weightsmith.convert.request import ConversionRequest, ConversionSource
    from weightsmith.documents import ConvertDocument


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tensors were converted in which way.

    copied: bytes as in the source, perhaps under another name.
    converted: same name, other bytes.
    created: a name that the source does not have, made of several tensors or of a part of one.
    dropped: source tensors of which nothing is written.
    """

    copied: int
    converted: int
    created: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was done.

    converter, reason: the converter's name, and why it was chosen.
    options: as the converter resolved them.
    source, output: paths as the user gave them.
    files: of the output.
    bytes_read, bytes_written: of weights.
    left_out: side files that were not copied -> why.
    problems: what was wrong with the source, and what is with the output.
    notes: what the user should know.
    dry_run: nothing was written.
    """

    converter: str
    reason: str
    options: Mapping[str, object]
    source: str
    output: str
    files: tuple[str, ...]
    tensors: Counts
    bytes_read: int
    bytes_written: int
    seconds: float
    config_changes: tuple[ConfigChange, ...]
    left_out: Mapping[str, str]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    dry_run: bool

    @property
    def sound(self) -> bool:
        """A loader gets through with the output."""
        return not any(problem.stops_loader for problem in self.problems)

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of what was written, as weightsmith.json has them; none of a dry run."""
        from weightsmith.convert.finish.hash_check import recorded_hashes

        return {} if self.dry_run else recorded_hashes(Path(self.output))

    def document(self) -> ConvertDocument:
        """The JSON contract of `convert`."""
        return {
            "command": "convert",
            "verdict": "unsound" if not self.sound else "planned" if self.dry_run else "written",
            "dry_run": self.dry_run,
            "converter": self.converter,
            "reason": self.reason,
            "options": dict(self.options),
            "source": self.source,
            "output": self.output,
            "files": list(self.files),
            "tensors": {
                "copied": self.tensors.copied,
                "converted": self.tensors.converted,
                "created": self.tensors.created,
                "dropped": self.tensors.dropped,
            },
            "bytes": {"read": self.bytes_read, "written": self.bytes_written},
            "seconds": round(self.seconds, 3),
            "config_changes": [change.document() for change in self.config_changes],
            "problems": [problem.document() for problem in self.problems],
            "notes": list(self.notes),
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What only the work itself shows.

    resumed: how many of the weights files a killed run had finished.
    made_zero: tensor -> how many of its numbers are zero that were not.
    """

    resumed: int
    made_zero: Counter[str]


def describe_conversion(
    request: ConversionRequest,
    source: ConversionSource,
    plan: ConversionPlan,
    seconds: float,
    outcome: Outcome | None = None,
) -> Conversion:
    """The result of a plan that was carried out, or in a dry run was only made.

    seconds: how long all of it took.
    outcome: None of a dry run.
    """
    files = plan.weights.files
    found = () if outcome is None else tuple(_notes(outcome, plan))
    return Conversion(
        converter=plan.converter,
        reason=plan.reason,
        options=plan.recipe.options,
        source=str(request.source),
        output=str(request.target),
        files=(*files, *plan.made, *plan.side_files.copied, MANIFEST),
        tensors=count_tensors(plan.recipe, source.checkpoint),
        bytes_read=plan.weights.bytes_read,
        bytes_written=plan.weights.nbytes,
        seconds=seconds,
        config_changes=plan.config_changes,
        left_out=plan.side_files.left_out,
        problems=(*source.checkpoint.problems, *plan.problems),
        notes=(*source.notes, *plan.notes, *plan.recipe.notes, *plan.recipe.told(), *found),
        dry_run=request.dry_run,
    )


def _notes(outcome: Outcome, plan: ConversionPlan) -> Iterator[str]:
    if outcome.resumed:
        yield f"{outcome.resumed} of {len(plan.weights.files)} weights files were there from a killed run"
    total = outcome.made_zero.total()
    if total:
        (tensor, most), *_ = outcome.made_zero.most_common(1)
        dtypes = {output.name: output.dtype for step in plan.recipe.steps for output in step.outputs}
        written = " of the files written now" if outcome.resumed else ""
        yield (
            f"{total:,} nonzero numbers{written} became zero, because they are too small for {dtypes[tensor]} "
            f"(most of them in {tensor}: {most:,})"
        )


def count_tensors(recipe: Recipe, source: Checkpoint) -> Counts:
    """The recipe's outputs by kind."""
    copied = converted = created = 0
    for step in recipe.steps:
        for output in step.outputs:
            if _is_copy(step):
                copied += 1
            elif output.name in source.tensors:
                converted += 1
            else:
                created += 1
    return Counts(copied, converted, created, len(recipe.dropped))


def _is_copy(step: RecipeStep) -> bool:
    if step.kernel is not None or step.data is not None or len(step.inputs) != 1:
        return False
    (rows,) = step.inputs
    return rows.start == 0 and rows.stop == grid(rows.tensor)[0]
