"""plain: any readable checkpoint to safetensors, every value kept or correctly rounded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.dtypes import TORCH_NAMES
from weightsmith.checkpoint.float_formats import FORMATS, array_type, cast
from weightsmith.checkpoint.gguf_types import PREFIX
from weightsmith.convert.protocol import Output, Recipe, RecipeStep, whole
from weightsmith.errors import ConversionRefused
from weightsmith.schemes import packed_tensors, plain_view
from weightsmith.shapes.family.run_model import model_in_run
from weightsmith.shapes.page.kept_wide import is_wide, wide_tensors
from weightsmith.values.blocks import grid
from weightsmith.values.underflow import cast_to_zero

from .tied import tied_duplicate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.arrays import Bits
    from weightsmith.convert.protocol import Arrays, Blocks, SourceEvidence


_NARROW = ("BF16", "F16")
# Elements that are cast at once.
_PART = 1 << 18


@dataclass(frozen=True, slots=True)
class Cast:
    """Each element rounded once, half to even. A finite number that would become infinite is refused.

    tensor: the name of the weight, for messages.
    source, target: dtypes.
    """

    tensor: str = field(compare=False)
    source: str
    target: str

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        made = np.empty(blocks[0].shape, FORMATS[self.target].word)
        self.fill(blocks, first_row, made)
        return (made.view(array_type(FORMATS[self.target])),)

    def fill(self, blocks: Blocks, first_row: int, out: Bits) -> None:
        (block,) = blocks
        read, write = FORMATS[self.source], FORMATS[self.target]
        # A part at a time: what is made on the way is several times as wide as the numbers.
        step = max(1, _PART * len(block) // max(1, block.size))
        for first in range(0, len(block), step):
            part = block[first : first + step]
            rounded, lost = cast(part.view(array_type(read)), read, write)
            if lost:
                raise ConversionRefused(
                    self.tensor,
                    f"{lost} of its numbers are too large for {self.target} (rows {first_row + first} and on)",
                    "choose a dtype with a wider range, such as bfloat16",
                )
            out[first : first + step] = rounded.view(write.word)

    def made_zero(self, blocks: Blocks, first_row: int, arrays: Arrays) -> int:
        read, write = FORMATS[self.source], FORMATS[self.target]
        return cast_to_zero(blocks[0], read, arrays[0].view(write.word), write)


@dataclass(frozen=True, slots=True)
class Plain:
    """Copies, with `--dtype` casts; the duplicate of a tied pair is dropped, other shared tensors are written out."""

    name: str = "plain"

    @property
    def options(self) -> Mapping[str, str]:
        return {}

    def recognise(self, evidence: SourceEvidence) -> str | None:
        return None

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        recipe = plain_recipe(evidence, dtype)
        packed = packed_tensors(evidence.checkpoint)
        if not packed:
            return recipe
        if dtype is not None and plain_view(evidence.checkpoint).modules:
            fact = "holds packed numbers, which a cast of their scales would change"
            raise ConversionRefused(packed[0], fact, "leave --dtype away, or use --converter dequant")
        # Some libraries write there how the parts make a tensor.
        return replace(recipe, metadata=evidence.checkpoint.metadata)


def plain_recipe(
    evidence: SourceEvidence,
    dtype: str | None,
    made: Mapping[str, tuple[RecipeStep, ...]] | None = None,
    folded: Mapping[str, str] | None = None,
) -> Recipe:
    """One step per tensor that is kept; other converters start from it and replace what they convert.

    made: source tensor -> the steps that take its place.
    folded: source tensor -> why nothing of it is written.
    Of a cast to 16 bits is left out what transformers keeps in F32 in a model of such a type.

    Raises ConversionRefused where a cast would take the meaning from a packed tensor, and for tensors of GGUF that are
    stored as no loader of safetensors takes them.
    """
    own, run = made or {}, model_in_run(evidence.checkpoint)
    evidence = replace(evidence, checkpoint=run.checkpoint)
    dropped = {**tied_duplicate(evidence), **(folded or {})}
    _refuse_blocks(evidence, own.keys() | dropped.keys())
    wide = wide_tensors().of(evidence.config, TORCH_NAMES[dtype]) if dtype in _NARROW else ()
    steps: list[RecipeStep] = []
    kept: list[str] = []
    for name, tensor in evidence.checkpoint.tensors.items():
        if name in dropped:
            continue
        if name not in own and wide and is_wide(name, wide):
            kept.append(name)
            steps.append(cast_step(tensor, "F32" if tensor.dtype == "F64" else None))
        else:
            steps += own[name] if name in own else (cast_step(tensor, dtype),)
    options: dict[str, object] = {} if dtype is None else {"dtype": TORCH_NAMES[dtype]}
    notes = (*run.notes, _kept_wide(kept)) if kept else run.notes
    changes = config_dtype(evidence.config, dtype)
    return Recipe(options, tuple(steps), {**dropped, **run.beside}, changes, notes=notes)


def _refuse_blocks(evidence: SourceEvidence, done: Collection[str]) -> None:
    for name in evidence.checkpoint.tensors if evidence.checkpoint.format == "gguf" else ():
        if name not in done and name.rpartition(".")[2].startswith(PREFIX):
            fact = "is stored as llama.cpp stores it, which no loader of safetensors reads"
            raise ConversionRefused(name, fact, "use --converter dequant")


def _kept_wide(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} are not cast: {wide_tensors().source} keeps them in F32 in a model of 16 bits"


def cast_step(tensor: Tensor, dtype: str | None) -> RecipeStep:
    """The step that writes a tensor under its own name, rounded to `dtype`. Raises ConversionRefused."""
    rows = grid(tensor)[0]
    if dtype is None or dtype == tensor.dtype or not _is_float(tensor):
        return RecipeStep((Output(tensor.name, tensor.dtype, tensor.shape),), whole(tensor, rows))
    if tensor.dtype not in FORMATS:
        raise ConversionRefused(
            tensor.name,
            f"is {tensor.dtype}, whose numbers mean nothing without their scales",
            "leave --dtype away",
        )
    kernel = Cast(tensor.name, tensor.dtype, dtype)
    return RecipeStep((Output(tensor.name, dtype, tensor.shape),), whole(tensor, rows), kernel)


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype.startswith(("F", "BF"))


def config_dtype(config: Mapping[str, object] | None, dtype: str | None) -> dict[str, object]:
    """The config keys that name the weights' dtype, where the config has them."""
    if config is None or dtype is None:
        return {}
    changes: dict[str, object] = {}
    for key, value in config.items():
        if key in ("torch_dtype", "dtype") and value is not None:
            changes[key] = TORCH_NAMES[dtype]
        elif isinstance(value, dict):
            nested = (
                config_dtype(value, dtype) if key.endswith("_config") and key != "quantization_config" else {}
            )
            changes.update({f"{key}.{inner}": name for inner, name in nested.items()})
    return changes
