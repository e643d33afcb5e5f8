"""What a scheme is given, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from weightsmith.schemes.formula import Fault, Formula

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint.table import Tensor
    from weightsmith.schemes.stated import Stated

Shape: TypeAlias = tuple[int, ...]
Method: TypeAlias = Literal[
    "awq",
    "bitnet",
    "bitsandbytes-fp4",
    "bitsandbytes-int8",
    "bitsandbytes-nf4",
    "compressed-tensors-fp8",
    "compressed-tensors-int8",
    "compressed-tensors-mxfp4",
    "compressed-tensors-nvfp4",
    "compressed-tensors-packed",
    "fp8",
    "fp8-block",
    "gguf",
    "gptq",
    "mlx",
    "modelslim",
    "modelslim-w4",
    "mxfp4",
    "mxfp4-pairs",
    "nvfp4",
    "quanto",
    "torchao",
]
# Values of `group` that are no number of channels.
PER_ROW, PER_TENSOR = -1, 0
# How many bits an integer may have that is packed into words.
PACKED_BITS = range(1, 9)
# The way out where a number or a part is lost.
DAMAGED = "the checkpoint is incomplete or damaged; download it again"
AS_IT_IS = "`--converter plain` copies it as it is"


@dataclass(frozen=True, slots=True)
class StoredModule:
    """The tensors of one module, by the last part of their names: `qweight`, `scales`, …

    name: of the module. plain: of the weight that its tensors stand for.
    known_widths: every width that some unpacked axis of the checkpoint has; the module's own are among them.
    read: the bytes of a small tensor, for schemes that keep the shape in one; None when that is not possible.
    stated: what config and files say; it is asked only what the tensors cannot tell.
    """

    name: str
    plain: str
    parts: Mapping[str, Tensor]
    known_widths: frozenset[int]
    read: Callable[[Tensor], bytes | None]
    stated: Stated

    def matrix(self, part: str) -> Tensor | None:
        """The tensor of that name where it has elements and at least two axes: else it holds no packed numbers."""
        tensor = self.parts.get(part)
        return tensor if tensor is not None and len(tensor.shape) >= 2 and tensor.elements else None

    def scale(self, *parts: str) -> Tensor | None:
        """The first tensor of these names that has elements."""
        found = (self.parts[part] for part in parts if part in self.parts)
        return next((tensor for tensor in found if tensor.elements), None)


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """The weight that a module's tensors stand for.

    shape: None where the tensors do not tell.
    bits: per weight.
    group: input channels per scale, PER_ROW for one scale per output row, PER_TENSOR for one in all.
    made: how its rows are made; or why they cannot be.
    symmetric: whether zero is in the middle of the codes; None where no name or shape tells.
    """

    method: Method
    shape: Shape | None
    bits: int
    group: int
    made: Formula | Fault
    symmetric: bool | None = True


class Scheme(Protocol):
    """One way of packing: knows a module's tensors by names, dtypes and shapes, or answers None."""

    def __call__(self, module: StoredModule, /) -> PackedWeight | None: ...


def missing(module: StoredModule, of: str, *parts: str) -> Fault:
    """That a module lacks one of these parts."""
    names = " or ".join(f"{module.name}.{part}" for part in parts)
    return Fault(module.parts[of].name, f"{names} is missing beside it", DAMAGED)
