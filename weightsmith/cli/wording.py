"""Values, sizes and checkpoints in the words of a screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.phrases import Phrase

_MAX_CELL = 28


def cell(value: object) -> str:
    """A value of a config as JSON has it, without the quotes of a word; the end of a long one is cut off."""
    return cut(json.dumps(value, ensure_ascii=False, default=str).strip('"'), _MAX_CELL)


def figure(value: float | str | None) -> str:
    """What was measured: a number to four digits, nothing where there is none."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else cell(value)


def cut(text: str, longest: int) -> str:
    """The text, or its beginning and an ellipsis when it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def duration(seconds: float) -> str:
    """How long something takes: "0.8 s", "12 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Bytes as people read them, in powers of 1000 as hubs and disks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def counted(count: int, one: str, several: str = "") -> Phrase:
    """`1 tensor`, `1,024 tensors`."""
    return say(f"{{count}} {one if count == 1 else several or one + 's'}", count=f"{count:,}")


def folded(names: Iterable[str]) -> dict[str, int]:
    """Names that differ in their indices alone as one, with `*` for these, and how many there are."""
    from weightsmith.checkpoint.names import without_indices

    found: dict[str, int] = {}
    for name in names:
        pattern = without_indices(name)
        found[pattern] = found.get(pattern, 0) + 1
    return found


def run_lines(checkpoint: Checkpoint) -> list[Phrase]:
    """Whose training run left a checkpoint and how it was cut, what is no weight in it, what is open; else nothing."""
    run = checkpoint.run
    if run is None:
        return []
    asked = [
        say("open: {name}, because {why}", name=question.name, why=Sentence(question.why))
        for question in run.questions
    ]
    left = [say("beside the weights: {what}", what=Sentence(what)) for what in run.left_out]
    return [say("training run: {run}", run=Sentence(run.words)), *left, *asked]


def checkpoint_line(checkpoint: Checkpoint, parameters: int | None = None) -> Phrase:
    """Path, files, format, number of tensors and parameters, size and dtypes in one line.

    parameters: of the model, where its tensors do not show them because they are packed.
    """
    files = list(checkpoint.files)
    named = files[0] if len(files) == 1 else counted(len(files), "file")
    count = parameters or checkpoint.parameters
    return say(
        "{path}: {files} ({format}), {tensors}, {parameters} parameters, {size}, {dtypes}",
        path=checkpoint.path,
        files=named,
        format=checkpoint.format,
        tensors=counted(len(checkpoint.tensors), "tensor"),
        parameters=f"{count:,}",
        size=size(checkpoint.nbytes),
        dtypes=", ".join(checkpoint.dtypes()),
    )
