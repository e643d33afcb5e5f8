"""The names that the tensors have in the model itself, where training wrapped it before it was saved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint import readable_config
from weightsmith.shapes.family.model_names import wrapping_of
from weightsmith.shapes.page.page import catalog_types

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint
    from weightsmith.shapes.family.wrapped_names import Wrapping


def under_model_names(checkpoint: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """(the checkpoint with its tensors under the names that loaders know, what to say of it).

    What wraps a model is told as `infer` tells it: from the weights that the tensors stand for. Packed ones keep their
    own parts under the new names. A checkpoint without wrapped names comes back as it is.
    """
    found = wrapping_of(checkpoint)
    if found.prefix and not _is_known(found, checkpoint):
        found = replace(found, prefix="", problems=found.problems if found.modules else ())
    if not found.problems:
        return checkpoint, ()
    named = {
        (new := found.without(name)): replace(tensor, name=new) for name, tensor in checkpoint.tensors.items()
    }
    if len(named) < len(checkpoint.tensors):
        return checkpoint, ()
    said = tuple(f"{problem.message}; the output has the names without it" for problem in found.problems)
    copies = {found.without(name): others for name, others in checkpoint.copies.items()}
    return replace(checkpoint, tensors=named, copies=copies), said


def _is_known(found: Wrapping, checkpoint: Checkpoint) -> bool:
    """Whether a prefix is one that nobody's own code can want: DDP's, or any before the names of a family's class."""
    if set(found.prefix.split(".")) <= {"module", ""}:
        return True
    config = readable_config(checkpoint) or {}
    return config.get("model_type") in catalog_types() and "auto_map" not in config
