"""What stands against a plain copy: weights that cannot be made, and numbers that would be left packed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault
from weightsmith.schemes.packed_module import AS_IT_IS
from weightsmith.schemes.stated import stated_of
from weightsmith.schemes.stored_names import (
    ENGINE_PARTS,
    SMALL_FLOATS,
    packed_parts,
    serves_an_engine,
    whole_numbers_alone,
)
from weightsmith.schemes.view import packed_tensors

if TYPE_CHECKING:
    from collections.abc import Collection

    from weightsmith.checkpoint.table import Checkpoint, Tensor
    from weightsmith.schemes.stated import Stated
    from weightsmith.schemes.view import PlainView


def not_plain(checkpoint: Checkpoint, view: PlainView) -> Fault | None:
    """Why a checkpoint cannot be made plain as a whole; None where its view stands for a model."""
    if view.second_norms:
        fact = "is a norm of ModelSlim's outlier suppression: the packed weights go with it and its bias"
        return Fault(view.second_norms[0], f"{fact}, for which the model has no place", AS_IT_IS)
    for module in view.modules:
        made = module.made
        if isinstance(made, Fault):
            return replace(made, fact=f"({module.method}) {made.fact}")
    stated = stated_of(checkpoint)
    made_plain = {tensor.name for module in view.modules for tensor in module.parts.values()}
    as_they_are = {
        name
        for name, one in checkpoint.tensors.items()
        if serves_an_engine(name) or is_spared(name, one, stated)
    }
    return left_packed(checkpoint, made_plain | as_they_are)


def left_packed(checkpoint: Checkpoint, done: Collection[str] = ()) -> Fault | None:
    """The first tensor that would be left packed; None where there is none.

    done: the tensors that are made plain, used up, or not needed any more.

    8-bit floats without a scale are plain numbers, if no word in the checkpoint and no other weight says otherwise.
    """
    stated = stated_of(checkpoint)
    quantized = bool(stated.section or stated.description or done)
    for name in packed_tensors(checkpoint):
        tensor = checkpoint.tensors[name]
        if name not in done and (quantized or tensor.dtype not in SMALL_FLOATS):
            return _fault(tensor, stated)
    for named in packed_parts(checkpoint.tensors)[0].values():
        for part, tensor in named.parts.items():
            if tensor.elements and part not in ENGINE_PARTS | {"weight", "bias"} and tensor.name not in done:
                return _fault(tensor, stated)
    alone = whole_numbers_alone(checkpoint.tensors) if stated.section else ()
    unknown = next((name for name in alone if name not in done), None)
    return None if unknown is None else _fault(checkpoint.tensors[unknown], stated)


def is_spared(name: str, tensor: Tensor, stated: Stated) -> bool:
    """Whether 8-bit floats without a scale are plain numbers: the config lists their module as not converted."""
    return tensor.dtype in SMALL_FLOATS and stated.spares(name.removesuffix(".weight"))


def _fault(tensor: Tensor, stated: Stated) -> Fault:
    method = f" of what its config calls {stated.method}" if stated.method else ""
    if tensor.dtype in SMALL_FLOATS:
        scales = f"{tensor.name}_scale_inv or {tensor.name}_scale is missing"
        return Fault(
            tensor.name, f"has no scale beside it: {scales}", f"get the file with its scale; {AS_IT_IS}"
        )
    fact = f"is {tensor.dtype} {list(tensor.shape)}, packed in a way{method} that is not known here"
    return Fault(tensor.name, fact, f"dequantize it with the library that wrote it; {AS_IT_IS}")
