"""What torch's distributed checkpoints tell of the run that left them; torchtitan's names made released ones."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.config_file import readable_config
from weightsmith.checkpoint.training.beside import folder_beside, head_width
from weightsmith.checkpoint.training.facts import TrainingRun
from weightsmith.checkpoint.training.megatron import named_by_megatron
from weightsmith.checkpoint.training.megatron_dist import prefix_of
from weightsmith.checkpoint.training.titan import released_titan
from weightsmith.errors import UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.table import Checkpoint

# torch/distributed/checkpoint/filesystem.py: the writing process and the number of its file.
_WRITTEN = re.compile(r"__([0-9]+)_[0-9]+\.distcp")
_AXES = ("rows", "columns")


def with_run(checkpoint: Checkpoint, answers: Mapping[str, int]) -> Checkpoint:
    """The checkpoint with what is known of its run, its tensors under released names where they are torchtitan's.

    Raises UnknownFormat for an answer that the shapes rule out.
    """
    ranks = {m[1] for file in checkpoint.files if (m := _WRITTEN.fullmatch(file))}
    run = TrainingRun(
        library="torch.distributed.checkpoint",
        processes=max(1, len(ranks)),
        layout=_layout(checkpoint),
        beside=folder_beside(checkpoint.root) if checkpoint.path != checkpoint.root else None,
    )
    told = replace(checkpoint, run=run)
    if prefix_of(checkpoint.tensors) is not None:
        return named_by_megatron(told, run, answers)
    head_dim = answers.get("head_dim") or head_width(readable_config(told) or {})
    try:
        tensors, questions = released_titan(told.tensors, head_dim)
    except ValueError as error:
        way_out = "say another with --converter training --set head_dim=NUMBER, or mend config.json"
        raise UnknownFormat(checkpoint.path, f"does not fit heads of {head_dim}: {error}", way_out) from error
    said = {name: answers[name] for name in ("head_dim",) if name in answers}
    return replace(told, tensors=tensors, run=replace(run, questions=questions, config=said))


def _layout(checkpoint: Checkpoint) -> dict[str, int]:
    """In how many parts rows and columns are cut at most."""
    layout = dict.fromkeys(_AXES, 1)
    for tensor in checkpoint.tensors.values():
        for axis, name in enumerate(_AXES[: len(tensor.shape)]):
            layout[name] = max(layout[name], len({piece.corner[axis] for piece in tensor.pieces}))
    return layout
