"""hrm-text: the two layouts of an HRM-Text checkpoint, fused and split, exactly reversible.

It also makes a release out of a training run's distributed checkpoint (hrm_training.py).

fused (the publisher's): attn.gqkv_proj.weight, rows gate|q|k|v; mlp.gate_up_proj.weight, rows gate|up;
attn.o_proj. split: self_attn.{gate,q,k,v}_proj.weight; mlp.{gate,up}_proj.weight; self_attn.o_proj.
(transformers, conversion_mapping.py, "hrm_text": equal chunks along the rows; biases keep their split names.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from weightsmith.checkpoint.place import located
from weightsmith.convert.plan.set_options import read_choice
from weightsmith.convert.protocol import Output, RecipeStep, Rows
from weightsmith.errors import ConversionRefused

from .hrm_training import (
    RUN_WEIGHTS,
    is_training_run,
    read_run,
    released,
    run_config,
    run_dtype,
    special_ids,
    tokenizer_files,
)
from .plain import plain_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.convert.protocol import Recipe, SourceEvidence

# Fused name -> its parts in the order of their rows.
_STACKS = {
    "attn.gqkv_proj.weight": (
        "self_attn.gate_proj.weight",
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
    ),
    "mlp.gate_up_proj.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
}
_Layout = Literal["fused", "split"]
_LAYOUTS: tuple[_Layout, ...] = ("fused", "split")
_HRM_LAYER = re.compile(r"(^|\.)[HL]_module\.layers\.\d+\.")


@dataclass(frozen=True, slots=True)
class HrmText:
    """Moves rows from one layout to the other; unless `--dtype` asks for a cast, every step is a copy."""

    name: str = "hrm-text"

    @property
    def options(self) -> Mapping[str, str]:
        return {
            "layout": "fused (the publisher's names, default) or split",
            "weights": "of a training run: ema (default, where it kept averages) or raw",
            "tokenizer": "of a training run: the folder of its tokenizer",
        }

    def recognise(self, evidence: SourceEvidence) -> str | None:
        names = evidence.checkpoint.tensors
        if is_training_run(evidence.checkpoint):
            return "it is a distributed checkpoint of an HRM-Text training run"
        split = next(
            (n for n in names if _HRM_LAYER.search(n) and n.endswith("self_attn.gate_proj.weight")), None
        )
        return None if split is None else f"{split} is an HRM-Text name of the split layout"

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        layout = read_choice(options, "layout", _LAYOUTS) or "fused"
        if is_training_run(evidence.checkpoint):
            return _release(evidence, options, dtype, layout)
        for option in ("weights", "tokenizer"):
            if option in options:
                fact = "is for the distributed checkpoint of a training run, which this is not"
                raise ConversionRefused(f"--set {option}", fact, "leave it away")
        if not any(_HRM_LAYER.search(name) for name in evidence.checkpoint.tensors):
            raise ConversionRefused(
                evidence.checkpoint.path,
                "has no H_module or L_module layers: it is no HRM-Text",
                "use `plain`",
            )
        plain = plain_recipe(evidence, dtype)
        return replace(
            plain, options={"layout": layout, **plain.options}, steps=_laid_out(plain.steps, layout)
        )


def _release(
    evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None, layout: _Layout
) -> Recipe:
    """The weights of one epoch under their released names, in the dtype that the run computed in."""
    weights, source = read_choice(options, "weights", RUN_WEIGHTS) or "ema", evidence.checkpoint
    run, data = read_run(source.root)
    files = tokenizer_files(located(options["tokenizer"])) if "tokenizer" in options else {}
    table, dropped, words = released(source, weights)
    plain = plain_recipe(replace(evidence, checkpoint=table), dtype or run_dtype(run))
    notes = [words]
    if not files:
        notes.append("no tokenizer lies beside a training run's weights: add it with --set tokenizer=FOLDER")
    return replace(
        plain,
        options={"layout": layout, "weights": weights, **plain.options},
        steps=_laid_out(plain.steps, layout),
        dropped={**plain.dropped, **dropped},
        config={**run_config(run, data, source.path), **special_ids(data, files)},
        files=files,
        notes=(*plain.notes, *notes),
    )


def _laid_out(steps: Sequence[RecipeStep], layout: _Layout) -> tuple[RecipeStep, ...]:
    return tuple(_fuse(steps) if layout == "fused" else _split(steps))


def _fuse(steps: Sequence[RecipeStep]) -> Iterator[RecipeStep]:
    """Stacks the parts of each fused weight, which takes the place of its first part."""
    by_name = {step.outputs[0].name: step for step in steps}
    for step in steps:
        (output,) = step.outputs
        place, stacked = _stack_of(output.name)
        if stacked is None:
            yield _renamed(step, ".self_attn.o_proj.", ".attn.o_proj.")
        elif output.name == place + _STACKS[stacked][0]:
            yield _stack(place, stacked, by_name)
        elif place + _STACKS[stacked][0] not in by_name:
            raise _incomplete(output.name, place + _STACKS[stacked][0])


def _stack_of(name: str) -> tuple[str, str | None]:
    """(what stands before the part, fused name) for a part of a stack; (name, None) for anything else."""
    if _HRM_LAYER.search(name):
        for stacked, parts in _STACKS.items():
            for part in parts:
                if name.endswith("." + part):
                    return name[: -len(part)], stacked
    return name, None


def _stack(place: str, stacked: str, by_name: Mapping[str, RecipeStep]) -> RecipeStep:
    """The step that writes a fused weight from all its parts. Raises ConversionRefused if one is missing."""
    steps = []
    for part in _STACKS[stacked]:
        if place + part not in by_name:
            raise _incomplete(place + _STACKS[stacked][0], place + part)
        steps.append(by_name[place + part])
    first = steps[0].outputs[0]
    for step in steps:
        output = step.outputs[0]
        if (output.dtype, output.shape) != (first.dtype, first.shape):
            raise ConversionRefused(
                output.name,
                f"is {output.dtype} {list(output.shape)}, unlike {first.name}: {first.dtype} {list(first.shape)}",
                "equal parts are needed to stack them",
            )
    shape = (first.shape[0] * len(steps), *first.shape[1:])
    inputs = tuple(rows for step in steps for rows in step.inputs)
    return RecipeStep((Output(place + stacked, first.dtype, shape),), inputs, steps[0].kernel)


def _split(steps: Sequence[RecipeStep]) -> Iterator[RecipeStep]:
    """Cuts each fused weight into equal blocks of rows."""
    for step in steps:
        (output,) = step.outputs
        stacked = next(
            (s for s in _STACKS if output.name.endswith("." + s) and _HRM_LAYER.search(output.name)), None
        )
        if stacked is None:
            yield _renamed(step, ".attn.o_proj.", ".self_attn.o_proj.")
            continue
        parts = _STACKS[stacked]
        (rows,) = step.inputs
        if output.shape[0] % len(parts):
            raise ConversionRefused(
                output.name,
                f"has {output.shape[0]} rows, which do not make {len(parts)} equal parts",
                "the checkpoint is damaged or of another architecture",
            )
        count = output.shape[0] // len(parts)
        place = output.name[: -len(stacked)]
        for number, part in enumerate(parts):
            piece = Rows(rows.tensor, rows.start + number * count, rows.start + (number + 1) * count)
            shape = (count, *output.shape[1:])
            yield RecipeStep((Output(place + part, output.dtype, shape),), (piece,), step.kernel)


def _renamed(step: RecipeStep, old: str, new: str) -> RecipeStep:
    (output,) = step.outputs
    if old not in output.name or not _HRM_LAYER.search(output.name):
        return step
    return replace(step, outputs=(replace(output, name=output.name.replace(old, new)),))


def _incomplete(present: str, absent: str) -> ConversionRefused:
    return ConversionRefused(
        present, f"{absent} is missing beside it", "the checkpoint is incomplete; download it again"
    )
