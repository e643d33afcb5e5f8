"""What a conversion did, or in a dry run would do."""

from __future__ import annotations

from dataclasses import dataclass
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
    from weightsmith.documents import ConversionPartEntry, ConversionVerdict, ConvertDocument, NodeEntry


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
class PartReport:
    """One part of a conversion: the part `number` of `of`.

    there_before: how many of its files another run had finished.
    finished, files: how many weights files of all parts are there now, and how many there will be.
    """

    number: int
    of: int
    there_before: int
    finished: int
    files: int

    def document(self) -> ConversionPartEntry:
        """The `part` of the JSON contract."""
        return {
            "number": self.number,
            "of": self.of,
            "there_before": self.there_before,
            "finished": self.finished,
            "files": self.files,
        }


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one machine of a cluster did; of a dry run what it will do.

    at_once: how many parts it works on at a time.
    parts, nbytes: what it wrote.
    rate: bytes a second, of all that it works on at a time; None where it did nothing. Of a dry run what it reads,
        converts and hashes, without what its disk takes to write.
    seconds: how long it was at work.
    """

    name: str
    at_once: int
    parts: int
    nbytes: int
    rate: float | None
    seconds: float

    def document(self) -> NodeEntry:
        """One entry of `nodes` in the JSON contract."""
        return {
            "name": self.name,
            "at_once": self.at_once,
            "parts": self.parts,
            "bytes": self.nbytes,
            "bytes_per_second": None if self.rate is None else round(self.rate),
            "seconds": round(self.seconds, 3),
        }


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
    part: None of a whole conversion. Of a part the files, tensors and bytes are its own.
    nodes: of the cluster that did it.
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
    part: PartReport | None = None
    nodes: tuple[NodeReport, ...] = ()

    @property
    def sound(self) -> bool:
        """A loader gets through with the output."""
        return not any(problem.stops_loader for problem in self.problems)

    @property
    def verdict(self) -> ConversionVerdict:
        """The one word for it."""
        if not self.sound:
            return "unsound"
        if self.dry_run:
            return "planned"
        return "written" if self.part is None else "part"

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of what was written, as weightsmith.json has them; none of a dry run or of a part."""
        from weightsmith.checkpoint.place import located
        from weightsmith.convert.finish.hash_check import recorded_hashes

        return {} if self.dry_run or self.part else recorded_hashes(located(self.output))

    def document(self) -> ConvertDocument:
        """The JSON contract of `convert`."""
        return {
            "command": "convert",
            "verdict": self.verdict,
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
            "part": None if self.part is None else self.part.document(),
            "nodes": [node.document() for node in self.nodes],
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
    outcome: None where nothing of it is told: of a dry run, and where parts did the work.
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
