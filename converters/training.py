"""training: a release out of what the processes of a training run left.

The checkpoint room has joined the parts (weightsmith/checkpoint/training). What is left to do here: the weights alone,
without the state of the run; the moving averages where the run kept them; a comparison of all copies that processes
held of the same numbers; the tokenizer that lies in another folder; a question where neither files nor shapes tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.model_files import belongs_to_model, is_weights
from weightsmith.checkpoint.names import sample
from weightsmith.checkpoint.small_file import LARGEST_TOKENIZER, names_in, read_small
from weightsmith.convert.plan.set_options import read_choice, read_number
from weightsmith.convert.protocol import REMOVED, Companion, RoundingKernel
from weightsmith.errors import ConversionRefused
from weightsmith.schemes.packing import left_packed
from weightsmith.shapes.family.run_model import model_in_run

from .hrm_training import RUN_WEIGHTS, is_training_run
from .plain import plain_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.training.facts import TrainingRun
    from weightsmith.convert.protocol import Arrays, Blocks, Kernel, Recipe, RecipeStep, SourceEvidence

_STATE_OF_RUN = "of the training run, no file of a model"
# Files and folders of a run that no name gives away as weights or state.
_OF_RUN = ("fsdp_config.json", "huggingface", "latest", "latest_checkpointed_iteration.txt", "metadata.json",
           "zero_to_fp32.py", "zero_to_torch.py")  # fmt: skip
# What may be asked: option -> what it says.
_QUESTIONS = {
    "head_dim": "width of an attention head, where no file of the run states it",
    "vocab_size": "words of the tokenizer, where Megatron filled the vocabulary up and no file of the run says to what",
}
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class SameInAll:
    """Hands on the stack, cast where `inner` casts, once the copies in the companions have proven equal to it.

    tensor: its name, for messages.
    """

    tensor: str
    inner: Kernel | None

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        stack, *copies = blocks
        for number, copy in enumerate(copies):
            if not np.array_equal(stack, copy):
                different = int(np.count_nonzero((stack != copy).any(axis=1)))
                raise ConversionRefused(
                    self.tensor,
                    f"has other numbers in copy {number + 2} of {len(copies) + 1} that processes held of it "
                    f"({different} rows from row {first_row} on)",
                    "the run's processes had come apart, or the files are of several steps: take another step",
                )
        return (stack,) if self.inner is None else self.inner((stack,), first_row)

    def made_zero(self, blocks: Blocks, first_row: int, arrays: Arrays) -> int:
        if not isinstance(self.inner, RoundingKernel):
            return 0
        return self.inner.made_zero(blocks[:1], first_row, arrays)


@dataclass(frozen=True, slots=True)
class Training:
    """A release of the weights of a training run."""

    name: str = "training"

    @property
    def options(self) -> Mapping[str, str]:
        return {"weights": "ema (default, where the run kept averages) or raw", **_QUESTIONS}

    def source(self, named: Path, options: Mapping[str, str]) -> Checkpoint:
        given = {
            name: read_number(options, name, lambda number: 0 < number < _MOST, "give a whole number")
            for name in _QUESTIONS
        }
        return open_checkpoint(named, {name: number for name, number in given.items() if number is not None})

    def recognise(self, evidence: SourceEvidence) -> str | None:
        run = evidence.checkpoint.run
        if run is None or is_training_run(evidence.checkpoint):  # HRM-Text's have a converter of their own
            return None
        return f"a training run left it ({run.words})"

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        checkpoint, run = evidence.checkpoint, evidence.checkpoint.run
        if run is None:
            fact = "is no part of a training run"
            raise ConversionRefused(checkpoint.path, fact, "use `plain`, or leave --converter away")
        _refuse_questions(checkpoint, run)
        fault = left_packed(checkpoint)
        if fault is not None:
            raise ConversionRefused(fault.subject, fault.fact, fault.way_out)
        weights = read_choice(options, "weights", RUN_WEIGHTS) or "ema"
        claims = {} if evidence.config is not None else dict(run.config)
        model = model_in_run(checkpoint, weights)
        told = evidence.config if evidence.config is not None else claims or None
        plain = plain_recipe(replace(evidence, checkpoint=model.checkpoint, config=told), dtype)
        return replace(
            plain,
            options={**{name: options[name] for name in sorted(options)}, **plain.options},
            steps=tuple(_compared(step, checkpoint.copies) for step in plain.steps),
            dropped={**plain.dropped, **model.beside},
            config={**_positions(claims), **plain.config},
            left_out={**dict.fromkeys(_OF_RUN, _STATE_OF_RUN), **plain.left_out},
            files=_files_beside(run.beside),
            notes=(*plain.notes, *run.notes, *model.notes, *_notes(checkpoint, run)),
        )


def _notes(checkpoint: Checkpoint, run: TrainingRun) -> list[str]:
    left = [f"left out: {what}" for what in run.left_out]
    count = len(checkpoint.copies)
    held = f"{count} tensors were held by several processes, and are compared bit by bit"
    return [*left, held] if count else left


def _positions(claims: Mapping[str, object]) -> dict[str, object]:
    """A run's claims, with the base of its positions where transformers 5 has it."""
    changes = dict(claims)
    base = changes.pop("rope_theta", None)
    if isinstance(base, int | float):
        changes["rope_theta"] = REMOVED
        changes["rope_parameters"] = {"rope_type": "default", "rope_theta": float(base)}
    return changes


def _refuse_questions(checkpoint: Checkpoint, run: TrainingRun) -> None:
    if not run.questions:
        return
    first = run.questions[0]
    could_be = sample([str(number) for number in first.candidates], 6).replace("'", "")
    asked = " ".join(f"--set {question.name}=NUMBER" for question in run.questions)
    raise ConversionRefused(
        checkpoint.path,
        f"does not tell {first.name} ({could_be} would fit), on which the weights depend: {first.why}",
        f"say it: --converter training {asked}",
    )


def _compared(step: RecipeStep, copies: Mapping[str, tuple[Tensor, ...]]) -> RecipeStep:
    """The step with the copies of its tensor beside it. Elements smaller than a byte are not compared."""
    tensor = step.inputs[0].tensor if len(step.inputs) == 1 else None
    others = copies.get(tensor.name, ()) if tensor is not None and BITS[tensor.dtype] >= 8 else ()
    if not others or tensor is None:
        return step
    return replace(step, kernel=SameInAll(tensor.name, step.kernel), companions=tuple(map(Companion, others)))


def _files_beside(folder: Place | None) -> dict[str, bytes]:
    """Tokenizer, generation settings and cards of a folder that the weights do not lie in."""
    if folder is None:
        return {}
    wanted = sorted(
        n for n in names_in(folder) if belongs_to_model(n) and not is_weights(n) and n != "config.json"
    )
    return {name: read_small(folder / name, LARGEST_TOKENIZER) for name in wanted}


__all__ = ["SameInAll", "Training"]
