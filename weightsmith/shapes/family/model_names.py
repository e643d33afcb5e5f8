"""What training put around the names of a whole checkpoint, packed or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.schemes import plain_view
from weightsmith.shapes.family.index_file import load_index
from weightsmith.shapes.family.task_heads import value_heads
from weightsmith.shapes.family.wrapped_names import MODULES, Wrapping, wrapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint, Tensor


def wrapping_of(checkpoint: Checkpoint) -> Wrapping:
    """As `infer` tells it: from the weights that the tensors stand for. Empty where nothing wraps them."""
    if not _may_be_wrapped(checkpoint.tensors):
        return Wrapping()
    plain = plain_view(checkpoint).tensors
    return wrapping(plain, load_index(), value_heads(plain))


def _may_be_wrapped(tensors: Mapping[str, Tensor]) -> bool:
    """Whether wrapping modules occur, or all names but those of value heads begin alike: quick, for large tables."""
    beside = set(value_heads(tensors))
    firsts = {name.partition(".")[0] for name in tensors if name not in beside}
    return len(firsts) == 1 or any(
        f"{module}." in name for name in tensors if "_" in name for module in MODULES
    )
