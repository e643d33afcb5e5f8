"""What a conversion did, or in a dry run would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.values.blocks import grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.table import Problem
    from weightsmith.convert.plan.output_config import ConfigChange
    from weightsmith.convert.protocol import Recipe, Step


@dataclass(frozen=True, slots=True)
class Counts:
    """Tensors. copied: bytes as in the source, perhaps under another name. converted: same name, other bytes.

    created: a name that the source does not have, made of several tensors or of a part of one.
    dropped: source tensors of which nothing is written.
    """

    copied: int
    converted: int
    created: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """reason: why this converter. bytes_read, bytes_written: of weights. notes: what the user should know.

    left_out: side files that were not copied, and why. problems: what was wrong with the source. dry_run: nothing was
    written.
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

    def document(self) -> dict[str, object]:
        """The JSON contract of `convert`."""
        return {
            "command": "convert",
            "converter": self.converter,
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
        }


def count(recipe: Recipe, source: Checkpoint) -> Counts:
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


def _is_copy(step: Step) -> bool:
    if step.kernel is not None or step.data is not None or len(step.inputs) != 1:
        return False
    (rows,) = step.inputs
    return rows.start == 0 and rows.stop == grid(rows.tensor)[0]
