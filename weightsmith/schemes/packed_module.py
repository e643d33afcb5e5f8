"""What a scheme is given, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.checkpoint.table import Tensor

Shape: TypeAlias = tuple[int, ...]
Method: TypeAlias = Literal[
    "awq",
    "bitnet",
    "bitsandbytes-fp4",
    "bitsandbytes-int8",
    "bitsandbytes-nf4",
    "compressed-tensors-fp8",
    "compressed-tensors-int8",
    "compressed-tensors-nvfp4",
    "compressed-tensors-packed",
    "fp8-block",
    "gptq",
    "modelslim",
    "mxfp4",
]
# Values of `group` that are no number of channels.
PER_ROW, PER_TENSOR = -1, 0
# How many bits an integer may have that is packed into words.
PACKED_BITS = range(1, 9)


@dataclass(frozen=True, slots=True)
class StoredModule:
    """The tensors of one module, by the last part of their names: `qweight`, `scales`, …

    known_widths: every width that some unpacked axis of the checkpoint has; the module's own are among them.
    read: the bytes of a small tensor, for schemes that keep the shape in one; None when that is not possible.
    """

    parts: Mapping[str, Tensor]
    known_widths: frozenset[int]
    read: Callable[[Tensor], bytes | None]

    def matrix(self, part: str) -> Tensor | None:
        """The tensor of that name where it has elements and at least two axes: else it holds no packed numbers."""
        tensor = self.parts.get(part)
        return tensor if tensor is not None and len(tensor.shape) >= 2 and tensor.elements else None


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """The weight that a module's tensors stand for.

    shape: None where the tensors do not tell.
    bits: per weight.
    group: input channels per scale, PER_ROW for one scale per output row, PER_TENSOR for one in all.
    """

    method: Method
    shape: Shape | None
    bits: int
    group: int


@dataclass(frozen=True, slots=True)
class PackedModule:
    """One packed module of a checkpoint: its name, its weight as in PackedWeight, and its tensors' last names."""

    name: str
    method: Method
    shape: Shape | None
    bits: int
    group: int
    parts: frozenset[str]


def group_of_scales(inputs: int, groups: int) -> int:
    """The group of `inputs` channels cut into so many groups, of which the last may be shorter."""
    return PER_ROW if groups == 1 else -(-inputs // groups)


def group_of_scale(weight: Tensor, scale: Tensor) -> int:
    """The group of a weight whose scale is one number, or one per row."""
    rows = weight.shape[-2] if len(weight.shape) > 1 else 1
    return PER_TENSOR if scale.elements == 1 and rows > 1 else PER_ROW
