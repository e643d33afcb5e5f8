"""`make bench-dialects`: the published models in transformers 4 and 5 side by side.

For every model that both build: do they build the same number of parameters, does the published config agree with the
tensors as transformers 4 saves them, and does what is derived from those alone build the model again in both?
"""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.published.judge import FIRST, alarm, bare_fault, dtype_of, with_truth
from benchmarks.published.models import groups, read_group
from benchmarks.published.reference import Truth, build_truth
from benchmarks.shapes import in_memory
from weightsmith.shapes import infer
from weightsmith.shapes.reference.meta_models import Rejected, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.published.models import PublishedModel
    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.inference import Inference

_CHILD = Path(__file__).with_name("transformers4.py")
_WIDTH = 100
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Sides:
    """One model in both versions. old: as transformers 4 saves it. renamed: whether the names differ."""

    model: PublishedModel
    truth: Truth
    old: Shapes

    @property
    def renamed(self) -> bool:
        return self.old != self.truth.shapes

    @property
    def parameters(self) -> tuple[int, int]:
        """In transformers 4 and 5."""
        return _parameters(self.old), _parameters(self.truth.shapes)


def main() -> int:
    (transformers4,) = sys.argv[1:]
    prepare()
    both = list(_built_in_both(transformers4))
    found = [_inferred(sides) for sides in both]
    derived = [_settled(sides, bare) for sides, (_, bare) in zip(both, found, strict=True)]
    rebuilt = _transformers4(transformers4, derived)
    faults = {
        "parameters": [
            f"{s.model.name}: {s.parameters[0]:,} and {s.parameters[1]:,}"
            for s in both
            if len(set(s.parameters)) > 1
        ],
        "true": [
            f"{s.model.name}: {alarm(true)}" for s, (true, _) in zip(both, found, strict=True) if alarm(true)
        ],
        "bare in 5": [
            f"{s.model.name}: {fault}"
            for s, (_, bare) in zip(both, found, strict=True)
            if (fault := bare_fault(bare, s.truth))
        ],
        "bare in 4": [
            f"{s.model.name}: {fault}"
            for s, shapes in zip(both, rebuilt, strict=True)
            if (fault := _difference(shapes, s.old))
        ],
    }
    renamed = sum(sides.renamed for sides in both)
    print(f"models that both build: {len(both)}; saved under other names by transformers 4: {renamed}")
    for question, wrong in faults.items():
        print(f"{question:10s} {len(both) - len(wrong)}/{len(both)}")
        for fault in wrong:
            print(f"     {fault}"[:_WIDTH])
    return 1 if any(len(wrong) > 0.02 * len(both) for wrong in faults.values()) else 0


def _built_in_both(transformers4: str) -> Iterable[Sides]:
    models, truths = [], []
    for model in (model for group in groups() for model in read_group(group)):
        try:
            truths.append(build_truth(model.config))
        except Rejected:
            continue
        models.append(model)
    olds = _transformers4(transformers4, [truth.config for truth in truths])
    for model, truth, old in zip(models, truths, olds, strict=True):
        if isinstance(old, dict):
            yield Sides(model, truth, old)


def _inferred(sides: Sides) -> tuple[Inference, Inference]:
    """From the tensors as transformers 4 saves them: with the published config, and with none."""
    checkpoint = in_memory(sides.old, dtype_of(sides.truth.config))
    return infer(checkpoint, sides.truth.config), infer(checkpoint, None)


def _settled(sides: Sides, bare: Inference) -> JsonObject:
    """The derived config, with the truth in place of each guess that has it among its first candidates."""
    return (
        with_truth(bare, sides.truth, FIRST)
        if bare.verdict == "guessed"
        else copy.deepcopy(dict(bare.config))
    )


def _transformers4(folder: str, configs: Sequence[JsonObject]) -> list[Shapes | str]:
    """What transformers 4 builds from each config; why it does not where it does not."""
    with tempfile.TemporaryDirectory() as scratch:
        questions, answers = Path(scratch, "questions"), Path(scratch, "answers")
        questions.write_text("".join(json.dumps(config) + "\n" for config in configs), encoding="utf-8")
        subprocess.run(
            [sys.executable, str(_CHILD), str(questions), str(answers)],
            env={**os.environ, "PYTHONPATH": folder},
            check=True,
        )
        lines = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    return [
        {name: tuple(shape) for name, shape in line["shapes"].items()}
        if "shapes" in line
        else line["refused"]
        for line in lines
    ]


def _difference(built: Shapes | str, saved: Shapes) -> str:
    if isinstance(built, str):
        return f"refused: {built}"
    wrong = sorted(name for name in built.keys() | saved.keys() if built.get(name) != saved.get(name))
    if not wrong:
        return ""
    return f"{len(wrong)} tensors, {wrong[0]} is {saved.get(wrong[0])} built {built.get(wrong[0])}"


def _parameters(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


if __name__ == "__main__":
    sys.exit(main())
