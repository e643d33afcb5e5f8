"""plain: any readable checkpoint to safetensors, every value kept or correctly rounded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.dtypes import TORCH_NAMES
from weightsmith.checkpoint.float_formats import FORMATS, array_type, cast
from weightsmith.convert.protocol import Output, Recipe, RecipeStep, whole
from weightsmith.errors import ConversionRefused
from weightsmith.schemes import packed_tensors, plain_view
from weightsmith.values.blocks import grid
from weightsmith.values.underflow import cast_to_zero

from .tied import tied_duplicate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.convert.protocol import Arrays, Blocks, SourceEvidence


# Elements that are cast at once.
_PART = 1 << 18


@dataclass(frozen=True, slots=True)
class Cast:
    """Each element rounded once, half to even. A finite number that would become infinite is refused.

    tensor: the name of the weight, for messages.
    source, target: dtypes.
    """

    tensor: str
    source: str
    target: str

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        (block,) = blocks
        read, write = FORMATS[self.source], FORMATS[self.target]
        made = np.empty(block.shape, array_type(write))
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
            made[first : first + step] = rounded
        return (made,)

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

    Raises ConversionRefused where a cast would take the meaning from a packed tensor.
    """
    own = made or {}
    dropped = {**tied_duplicate(evidence), **(folded or {})}
    steps: list[RecipeStep] = []
    for name, tensor in evidence.checkpoint.tensors.items():
        if name not in dropped:
            steps += own[name] if name in own else (_step(tensor, dtype),)
    options: dict[str, object] = {} if dtype is None else {"dtype": TORCH_NAMES[dtype]}
    return Recipe(options, tuple(steps), dropped, config_dtype(evidence.config, dtype))


def _step(tensor: Tensor, dtype: str | None) -> RecipeStep:
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
