"""Which library left a folder, and where in it the weights of its last step are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted, sample
from weightsmith.checkpoint.place import folders_in
from weightsmith.checkpoint.small_file import is_there, listed, names_in, read_small
from weightsmith.checkpoint.training.megatron import read_megatron
from weightsmith.checkpoint.training.megatron_ranks import rank_folders
from weightsmith.checkpoint.training.names import (
    ACCELERATE,
    LATEST,
    LATEST_ITERATION,
    MODEL_PARALLEL,
    RANK_FILE,
    STEP,
    ZERO_MODEL,
    ZERO_OPTIMIZER,
)
from weightsmith.checkpoint.training.rank_shards import read_rank_shards
from weightsmith.checkpoint.training.zero import read_zero
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Checkpoint

_FOLDER_NAME = re.compile(rb"\s*([A-Za-z0-9][A-Za-z0-9._-]{0,200})\s*")
_LARGEST_NOTE = 1 << 10


def folder_of_weights(folder: Place) -> Place:
    """The folder in a run's folder that holds the weights of its last step; else the folder itself.

    Raises MissingInput where the run names a folder that is not there.
    """
    if is_there(folder / LATEST):
        return _named_in(folder, LATEST)
    if is_there(folder / LATEST_ITERATION):
        return _last_iteration(folder)
    folders = folders_in(folder)
    steps = [name for name in folders if STEP.fullmatch(name) and rank_folders(folder / name)]
    if len(steps) == 1:
        return folder / steps[0]
    if steps:
        fact = f"holds {len(steps)} steps of a training run ({sample(steps)}), and nothing says which is the last"
        raise MissingInput(folder, fact, f"name the folder of the step: {quoted(steps[-1])}")
    for name in folders:
        if ACCELERATE.fullmatch(name) and names_in(folder / name):
            return folder / name
    return folder


def _named_in(folder: Place, note: str) -> Place:
    found = _FOLDER_NAME.fullmatch(read_small(folder / note, _LARGEST_NOTE))
    if found is None:
        return folder
    name = found[1].decode()
    if name not in folders_in(folder):
        fact = f"names the folder {quoted(name)}, which is not there"
        raise MissingInput(
            folder / note, fact, "copy it from the training run, or name another step's folder"
        )
    return folder / name


def _last_iteration(folder: Place) -> Place:
    """The step that Megatron wrote last: its note holds a number, or `release`."""
    note = read_small(folder / LATEST_ITERATION, _LARGEST_NOTE).strip()
    if note != b"release" and not note.isdigit():
        return folder
    name = note.decode() if note == b"release" else f"iter_{int(note):07d}"
    if name not in folders_in(folder):
        fact = f"names the step {quoted(name)}, which is not there"
        raise MissingInput(
            folder / LATEST_ITERATION, fact, "copy it from the training run, or name another step's folder"
        )
    return folder / name


def read_training_run(path: Place, folder: Place, answers: Mapping[str, int]) -> Checkpoint | None:
    """The table of `folder`, which the processes of a training run left; None for any other folder.

    path: as the user gave it. answers: see `open_checkpoint`. Raises what the library's reader raises.
    """
    names = listed(folder)
    if any(RANK_FILE.fullmatch(name) for name in names):
        return read_rank_shards(path, folder, names)
    if all(any(pattern.fullmatch(name) for name in names) for pattern in (ZERO_OPTIMIZER, ZERO_MODEL)):
        return read_zero(path, folder, names)
    ranks = rank_folders(folder) if any(MODEL_PARALLEL.fullmatch(name) for name in names) else {}
    if ranks:
        return read_megatron(path, folder, ranks, answers)
    return None
