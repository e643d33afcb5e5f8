"""The names that the tensors have in the model itself, where training wrapped it before it was saved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.schemes import plain_view
from weightsmith.shapes.family.candidates import load_index
from weightsmith.shapes.family.task_heads import value_heads
from weightsmith.shapes.family.wrapped_names import wrapping

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint


def under_model_names(checkpoint: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """(the checkpoint with its tensors under the names that loaders know, what to say of it).

    What wraps a model is told as `infer` tells it: from the weights that the tensors stand for. Packed ones keep their
    own parts under the new names. A checkpoint without wrapped names comes back as it is.
    """
    plain = plain_view(checkpoint).tensors
    found = wrapping(plain, load_index(), value_heads(plain))
    if not found.problems:
        return checkpoint, ()
    named = {
        (new := found.without(name)): replace(tensor, name=new) for name, tensor in checkpoint.tensors.items()
    }
    if len(named) < len(checkpoint.tensors):
        return checkpoint, ()
    said = tuple(f"{problem.message}; the output has the names without it" for problem in found.problems)
    return replace(checkpoint, tensors=named), said
