"""dequant: packed weights, in whatever scheme, to the plain ones that they stand for; bf16 unless told otherwise.

`weightsmith.schemes` knows what is packed and how each weight is made; here this becomes a recipe. A weight that no
scheme can make is refused by name, and so are numbers that would be left packed: a config that no longer describes
them would make them mean something else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.dtypes import TORCH_NAMES
from weightsmith.checkpoint.small_file import names_in
from weightsmith.convert.protocol import REMOVED, Companion, Output, RecipeStep, Rows, whole
from weightsmith.errors import ConversionRefused
from weightsmith.schemes import packed_tensors, plain_view
from weightsmith.schemes.arithmetic import (
    NotFiniteError,
    OutOfPlaceError,
    WrongOrderError,
    hides_a_bias,
    lost_to_zero,
    plain_rows,
)
from weightsmith.schemes.formula import Formula, Numbers
from weightsmith.schemes.packed_module import AS_IT_IS, DAMAGED
from weightsmith.schemes.packing import is_spared, not_plain
from weightsmith.schemes.stated import SECTIONS, descriptions, stated_of
from weightsmith.schemes.stored_names import ENGINE_PARTS, serves_an_engine
from weightsmith.values.blocks import grid

from .plain import config_dtype, plain_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.protocol import Arrays, Blocks, Recipe, SourceEvidence
    from weightsmith.schemes import PackedModule, PlainView

_TOKENIZER = "the tokenizer stays in the GGUF file: copy tokenizer.json from the model that it was made of"
_FOR_AN_ENGINE = "it serves quantized activations or a quantized key/value cache, which nobody quantizes now"


@dataclass(slots=True)
class HiddenBiases:
    """Weights beside which a kernel adds a bias that stands in no tensor of its own, as their rows are made."""

    _weights: set[str] = field(default_factory=set)

    def add(self, weight: str) -> None:
        self._weights.add(weight)

    def told(self) -> tuple[str, ...]:
        """What is lost, in words; nothing where nothing is."""
        if not self._weights:
            return ()
        first = min(self._weights).removesuffix("weight") + "quant_bias"
        more = f" and {len(self._weights) - 1} more hold" if len(self._weights) > 1 else " holds"
        return (f"{first}{more} a bias that stands in no other tensor: it is not written",)


@dataclass(frozen=True, slots=True)
class Undo:
    """Rows of one weight from rows of its stored tensors. target: the dtype to make. hidden: biases to be told of."""

    weight: str
    formula: Formula
    target: str
    hidden: HiddenBiases | None = None

    def __call__(self, blocks: Blocks, first_row: int) -> Arrays:
        if self.hidden is not None and hides_a_bias(self.formula, blocks, first_row):
            self.hidden.add(self.weight)
        try:
            return (plain_rows(self.formula, blocks, first_row, self.target),)
        except NotFiniteError as error:
            last = first_row + len(blocks[0]) - 1
            fact = error.what if error.tensor else f"{error.what} (stored rows {first_row} to {last})"
            raise ConversionRefused(error.tensor or self.weight, fact, DAMAGED) from error
        except OutOfPlaceError as error:
            raise ConversionRefused(error.tensor, error.what, AS_IT_IS) from error
        except WrongOrderError as error:
            raise ConversionRefused(error.tensor, str(error), DAMAGED) from error

    def made_zero(self, blocks: Blocks, first_row: int, arrays: Arrays) -> int:
        return lost_to_zero(self.formula, blocks, first_row, arrays[0], self.target)


@dataclass(frozen=True, slots=True)
class Dequant:
    """Packed weights to plain ones."""

    name: str = "dequant"

    @property
    def options(self) -> Mapping[str, str]:
        """It takes none."""
        return {}

    def recognise(self, evidence: SourceEvidence) -> str | None:
        """What is packed, and in which schemes."""
        view = plain_view(evidence.checkpoint)
        return view.packed_as or None

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        """Plain weights of dtype `dtype`, or bf16; everything else as `plain` would write it."""
        checkpoint = evidence.checkpoint
        view = plain_view(checkpoint)
        target = dtype or _moved_only(view) or "BF16"
        if not view.modules:
            raise ConversionRefused(checkpoint.path, "has no packed weights", "use `plain` to copy it")
        fault = not_plain(checkpoint, view)
        if fault is not None:
            raise ConversionRefused(fault.subject, fault.fact, fault.way_out)
        steps = dict(_spared(checkpoint, target))
        dropped: dict[str, str] = {}
        hidden = HiddenBiases()
        for module in view.modules:
            made = module.made
            assert isinstance(made, Formula)  # else it is not plain
            steps[made.codes.name] = (_step(module, made, target, hidden),)
            dropped |= dict(_used_up(module, made))
        dropped |= {name: _FOR_AN_ENGINE for name in checkpoint.tensors if serves_an_engine(name)}
        # All numbers of a GGUF file are cast: which of them are F32 there is llama.cpp's choice, and not the model's.
        plain = plain_recipe(evidence, target if checkpoint.format == "gguf" else dtype, steps, dropped)
        config = {**plain.config, **_unquantized(evidence, target, view)}
        notes = (*plain.notes, _TOKENIZER) if checkpoint.format == "gguf" else plain.notes
        left_out = dict.fromkeys(descriptions(names_in(checkpoint.root)), "it describes packed weights")
        return replace(plain, config=config, left_out=left_out, notes=notes, told=hidden.told)


def _moved_only(view: PlainView) -> str | None:
    """The dtype that all matrices have, where none of them is packed: their rows stand in another order."""
    found = {
        made.layout.dtype if isinstance(made.layout, Numbers) and not made.operands else None
        for module in view.modules
        if isinstance(made := module.made, Formula) and len(made.codes.shape) > 1
    }
    found |= {view.tensors[name].dtype for name in view.plain}
    return found.pop() if len(found) == 1 else None


def _step(module: PackedModule, made: Formula, target: str, hidden: HiddenBiases) -> RecipeStep:
    """The step that writes the plain weight."""
    assert module.shape is not None  # that of a weight which can be made is known
    rows = grid(made.codes)[0]
    return RecipeStep(
        outputs=(Output(module.plain, target, module.shape),),
        inputs=(Rows(made.codes, 0, rows),) * made.slices,
        kernel=Undo(module.plain, made, target, hidden if made.kernel_bias is not None else None),
        companions=tuple(Companion(one.tensor, one.each, one.rows) for one in made.operands),
        together=made.turned or 1,
    )


def _used_up(module: PackedModule, made: Formula) -> Iterator[tuple[str, str]]:
    """Every tensor of the module but its codes and its bias, and why nothing of it is written."""
    for part, tensor in module.parts.items():
        if part != "bias" and tensor.name != made.codes.name:
            yield tensor.name, _FOR_AN_ENGINE if part in ENGINE_PARTS else f"folded into {module.plain}"


def _spared(checkpoint: Checkpoint, target: str) -> Iterator[tuple[str, tuple[RecipeStep, ...]]]:
    """8-bit floats that are plain numbers beside others that are not."""
    stated = stated_of(checkpoint)
    for name in packed_tensors(checkpoint):
        tensor = checkpoint.tensors[name]
        if is_spared(name, tensor, stated):
            kernel = Undo(name, Formula(tensor, Numbers(tensor.dtype)), target)
            output = Output(name, target, tensor.shape)
            yield name, (RecipeStep((output,), whole(tensor, grid(tensor)[0]), kernel),)


def _unquantized(evidence: SourceEvidence, dtype: str, view: PlainView) -> dict[str, object]:
    """The config changes that go with plain weights of this dtype."""
    sections = (*SECTIONS, *(f"text_config.{section}" for section in SECTIONS))
    gone: dict[str, object] = dict.fromkeys(sections, REMOVED)
    if any(module.method == "mxfp4-pairs" for module in view.modules):
        gone["expert_dtype"] = REMOVED  # DeepSeek-V4's word for how its experts are packed
    if evidence.checkpoint.format == "gguf":
        gone["dtype"] = TORCH_NAMES[dtype]  # what is packed there had none
    return {**config_dtype(evidence.config, dtype), **gone}


DEQUANT = Dequant()
