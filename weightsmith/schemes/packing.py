"""What would be left packed: numbers that no scheme makes plain, and parts of modules that no scheme knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes.formula import Fault
from weightsmith.schemes.packed_module import AS_IT_IS
from weightsmith.schemes.stated import stated_of
from weightsmith.schemes.stored_names import ENGINE_PARTS, SMALL_FLOATS, packed_parts
from weightsmith.schemes.view import packed_tensors

if TYPE_CHECKING:
    from collections.abc import Collection

    from weightsmith.checkpoint.table import Checkpoint, Tensor
    from weightsmith.schemes.stated import Stated


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
    return None


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
