"""lora: an adapter merged into its base: W + s B A, rounded once.

PEFT 0.21, tuners/lora/layer.py (`get_delta_weight`, `merge`), variants.py (`DoraLinearVariant`), utils/save_and_load.py
(names). s is alpha / r, or alpha / sqrt(r) with rslora. A DoRA scales each output of the sum to its stored magnitude.
The sum is made in float64 and rounded once. PEFT adds in float32 first: a number that lies next to the middle between
two of the base's dtype may come out as the other one there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.float_formats import FORMATS
from weightsmith.checkpoint.model_files import is_tokenizer
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.place import local_folder, located, same_place
from weightsmith.checkpoint.small_file import LARGEST_TOKENIZER, is_there, names_in, read_small
from weightsmith.convert.protocol import Companion, Output, RecipeStep, whole
from weightsmith.errors import ConversionRefused, MissingInput
from weightsmith.values.blocks import grid

from .lora_config import ADAPTER_CONFIG, WITH_PEFT, read_adapter_config
from .lora_kernel import ColumnNorms, Merge
from .lora_names import AdapterTensors, adapter_tensors
from .plain import cast_step, plain_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.protocol import Recipe, SourceEvidence

    from .lora_config import AdapterConfig
    from .lora_names import Factors


class _SideFiles(TypedDict):
    left_out: dict[str, str]
    files: dict[str, bytes]


ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_BASE = "name the base that it was trained on with --set base=FOLDER"
_OTHER_BASE = f"it was trained on another base; {_BASE}"


@dataclass(frozen=True, slots=True)
class Lora:
    """The base's tensors, those that the adapter changes merged, and those that it replaces taken from it."""

    name: str = "lora"

    @property
    def options(self) -> Mapping[str, str]:
        return {"base": "the folder of the base model; default: the adapter lies beside it"}

    def recognise(self, evidence: SourceEvidence) -> str | None:
        return None

    def source(self, named: Place, options: Mapping[str, str]) -> Checkpoint:
        """The base's table with the adapter's tensors in it, in the folder of the base.

        Raises MissingInput where there is no adapter, and what `open_checkpoint` raises.
        """
        adapter = open_checkpoint(_adapter_file(named))
        base = open_checkpoint(located(options["base"]) if "base" in options else named)
        if base.files.keys() == adapter.files.keys() and same_place(base.root, adapter.root):
            raise ConversionRefused(named, "holds an adapter and no base beside it", _BASE)
        folder = Path(os.path.realpath(local_folder(adapter.root, "--converter lora (for the adapter)")))
        moved = {name: _in_folder(tensor, folder) for name, tensor in adapter.tensors.items()}
        twice = next((name for name in moved if name in base.tensors), None)
        if twice is not None:
            raise ConversionRefused(
                adapter.path, f"has a tensor {quoted(twice)}, and its base has, too", _BASE
            )
        files = {**base.files, **{str(folder / file): size for file, size in adapter.files.items()}}
        problems = (*base.problems, *adapter.problems)
        return replace(base, files=files, tensors={**base.tensors, **moved}, problems=problems)

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        adapter, base, folder = _apart(evidence.checkpoint)
        found = adapter_tensors(adapter, base, evidence.config, folder)
        merger = _Merger(evidence.checkpoint, read_adapter_config(folder), dtype, found, base)
        steps = merger.steps()
        untied = _untied(evidence.config, found)
        told = replace(
            evidence,
            checkpoint=replace(evidence.checkpoint, tensors=base),
            config=None if evidence.config is None else {**evidence.config, **untied},
        )
        plain = plain_recipe(told, dtype, {name: (step,) for name, step in steps.items()})
        lost = next((name for name in steps if name in plain.dropped), None)
        if lost is not None:
            raise ConversionRefused(folder, f"adapts {lost}, which is {plain.dropped[lost]}", WITH_PEFT)
        added = tuple(step for name, step in steps.items() if name not in base)
        whole_ones = f", {len(found.replaced)} tensors taken whole" if found.replaced else ""
        return replace(
            plain,
            steps=(*plain.steps, *added),
            dropped={**plain.dropped, **dict.fromkeys(found.names, "merged into the base")},
            config={**plain.config, **untied},
            notes=(*plain.notes, f"{len(found.factors)} modules merged{whole_ones}"),
            **_side_files(folder, evidence.checkpoint.root),
        )


@dataclass(frozen=True, slots=True)
class _Merger:
    """Makes the steps of one merge. dtype: of the output; None for the base's own. base: the tensors of the base."""

    checkpoint: Checkpoint
    config: AdapterConfig
    dtype: str | None
    found: AdapterTensors
    base: Mapping[str, Tensor]

    def steps(self) -> dict[str, RecipeStep]:
        """Tensor of the output -> the step that makes it, for all that the adapter changes."""
        made = {name: self.replaced(name, tensor) for name, tensor in self.found.replaced.items()}
        for module, factors in self.found.factors.items():
            name = self.found.weight_of[module]
            weight = self.found.replaced.get(name, self.base[name])
            made[name] = self.merged(name, weight, factors, module)
            if factors.bias is not None:
                bias = self.base.get(f"{name.removesuffix('weight')}bias")
                if bias is None:
                    raise ConversionRefused(
                        name, "gets a bias of the adapter's, and its base has none", WITH_PEFT
                    )
                made[bias.name] = self.biased(bias, factors.bias, module)
        return made

    def merged(self, name: str, weight: Tensor, factors: Factors, module: str) -> RecipeStep:
        """The step of a weight [rows, cols] to which a product of factors is added. Raises ConversionRefused."""
        self._need_numbers(name, weight, factors)
        turned = self._turned(name, weight, factors, module)
        left, right = (_transposed(factors.a), _transposed(factors.b)) if turned else (factors.b, factors.a)
        merge = self._merge(name, weight, module, left, right)
        companions = [Companion(left)]
        if factors.magnitude is not None:
            magnitude = _vector(name, factors.magnitude, weight.shape[1 if turned else 0])
            if turned:
                merge = replace(merge, norms=ColumnNorms(weight, left, magnitude))
            else:
                merge = replace(merge, rows_magnitude=magnitude.dtype)
                companions.append(Companion(magnitude))
        elif self.config.dora:
            raise ConversionRefused(self.config.path, f"says DoRA, and {module} has no magnitudes", WITH_PEFT)
        output = Output(name, merge.target, weight.shape)
        return RecipeStep((output,), whole(weight, grid(weight)[0]), merge, tuple(companions))

    def biased(self, bias: Tensor, added: Tensor, module: str) -> RecipeStep:
        """The step of a bias to which the adapter's own is added."""
        column = _vector(bias.name, added, bias.elements)
        merge = self._merge(bias.name, bias, module, column, None)
        rows = whole(bias, grid(bias)[0])
        return RecipeStep((Output(bias.name, merge.target, bias.shape),), rows, merge, (Companion(column),))

    def replaced(self, name: str, tensor: Tensor) -> RecipeStep:
        """The step of a tensor that the adapter has whole, in the dtype of the one whose place it takes."""
        own = self.base[name].dtype if name in self.base else tensor.dtype
        return cast_step(replace(tensor, name=name), self.dtype or own)

    def _merge(self, name: str, weight: Tensor, module: str, left: Tensor, right: Tensor | None) -> Merge:
        target = self.dtype or weight.dtype
        return Merge(
            name, weight.dtype, target, self.config.scaling(module), self.checkpoint, left.dtype, right
        )

    def _need_numbers(self, name: str, weight: Tensor, factors: Factors) -> None:
        if weight.dtype not in FORMATS:
            raise ConversionRefused(
                name,
                f"is {weight.dtype}: the base is packed",
                "convert the base to bfloat16 first, and merge into that",
            )
        for tensor in (factors.a, factors.b, factors.magnitude, factors.bias):
            if tensor is not None and tensor.dtype not in FORMATS:
                raise ConversionRefused(tensor.name, f"is {tensor.dtype}, no matrix of an adapter", WITH_PEFT)

    def _turned(self, name: str, weight: Tensor, factors: Factors, module: str) -> bool:
        """Whether the weight lies as [in, out], where the product of the factors is [out, in]: embeddings, GPT-2.

        The shapes tell; of square matrices those of the others, else the config. Raises ConversionRefused where the
        shapes are of no such pair, or their rank is not the stated one.
        """
        a, b, rank = factors.a, factors.b, self.config.rank(module)
        if len(a.shape) != 2 or len(b.shape) != 2 or len(weight.shape) != 2:
            shapes = f"{list(a.shape)} and {list(b.shape)} for a weight of {list(weight.shape)}"
            raise ConversionRefused(name, f"has LoRA matrices of shapes {shapes}", WITH_PEFT)
        if not a.shape[0] == b.shape[1] == rank:
            fact = (
                f"has LoRA matrices of rank {a.shape[0]} and {b.shape[1]}, and {ADAPTER_CONFIG} says {rank}"
            )
            raise ConversionRefused(name, fact, "the config is another adapter's; get both files again")
        made = (b.shape[0], a.shape[1])
        if weight.shape not in (made, made[::-1]) or rank > max(made):
            fact = f"is {list(weight.shape)}, and its LoRA matrices make {list(made)}"
            raise ConversionRefused(name, fact, _OTHER_BASE)
        if factors.embedding or made[0] != made[1]:
            return factors.embedding or weight.shape != made
        return self._usually_turned()

    def _usually_turned(self) -> bool:
        """How matrices lie of which the shape does not tell: as the others do, else as the config says."""
        lie = set()
        for module, factors in self.found.factors.items():
            made = (factors.b.shape[0], factors.a.shape[-1])
            if not factors.embedding and made[0] != made[1]:
                lie.add(self.base[self.found.weight_of[module]].shape != made)
        return lie.pop() if len(lie) == 1 else self.config.turned


def _apart(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Tensor], Path]:
    """(tensors of the adapter, tensors of the base, folder of the adapter). Files outside the base's folder have whole
    names: see `Lora.source`."""
    adapter = {n: t for n, t in checkpoint.tensors.items() if Path(t.storage.file).is_absolute()}
    base = {n: t for n, t in checkpoint.tensors.items() if n not in adapter}
    if not adapter:
        raise ConversionRefused(checkpoint.path, "holds no adapter", "name the folder of an adapter as SRC")
    return adapter, base, Path(next(iter(adapter.values())).storage.file).parent


def _side_files(folder: Path, root: Place) -> _SideFiles:
    """The tokenizer goes with the weights: an adapter that has one was trained with it, and the base's stays behind."""
    gone = dict.fromkeys((ADAPTER_CONFIG, *ADAPTER_FILES), "it is merged into the weights")
    own = [name for name in names_in(folder) if is_tokenizer(name)]
    beside = isinstance(root, Path) and folder == Path(os.path.realpath(root))
    if beside or not own:
        return {"left_out": gone, "files": {}}
    theirs = dict.fromkeys(
        filter(is_tokenizer, names_in(root)), "the adapter's own tokenizer is taken instead"
    )
    return {
        "left_out": gone | theirs,
        "files": {name: read_small(folder / name, LARGEST_TOKENIZER) for name in sorted(own)},
    }


def _adapter_file(named: Place) -> Place:
    """The weights of the adapter in a folder, or the file itself. Raises MissingInput."""
    if named.is_file():
        return named
    for file in ADAPTER_FILES:
        if is_there(named / file):
            return named / file
    raise MissingInput(
        named,
        f"has no {ADAPTER_FILES[0]}",
        "name the folder of an adapter as SRC, its base with --set base=FOLDER",
    )


def _in_folder(tensor: Tensor, folder: Path) -> Tensor:
    """The tensor with its file named so that it is found from the base's folder, too."""
    storage = replace(tensor.storage, file=str(folder / tensor.storage.file))
    return replace(
        tensor, storage=storage, pieces=tuple(_in_folder(piece, folder) for piece in tensor.pieces)
    )


def _transposed(tensor: Tensor) -> Tensor:
    return replace(tensor, shape=tensor.shape[::-1], strides=tensor.strides[::-1])


def _vector(name: str, tensor: Tensor, size: int) -> Tensor:
    """Magnitudes or biases of an adapter, [size] or [1, size], as a vector. Raises ConversionRefused."""
    if tensor.elements != size or not tensor.contiguous:
        fact = f"has {size} outputs, and the adapter's {quoted(tensor.name)} is {list(tensor.shape)}"
        raise ConversionRefused(name, fact, _OTHER_BASE)
    return replace(tensor, shape=(size,), strides=(1,))


def _untied(config: Mapping[str, object] | None, found: AdapterTensors) -> dict[str, object]:
    """A head that the adapter has whole is tied to no embedding any more."""
    tied = config is not None and config.get("tie_word_embeddings") is True
    whole_head = any(name.rpartition(".")[0].endswith("lm_head") for name in found.replaced)
    return {"tie_word_embeddings": False} if tied and whole_head else {}
