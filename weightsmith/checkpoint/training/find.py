"""Which library left a folder, and where in it the weights of its last step are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.place import folders_in
from weightsmith.checkpoint.small_file import listed, names_in
from weightsmith.checkpoint.training.names import ACCELERATE, RANK_FILE
from weightsmith.checkpoint.training.rank_shards import read_rank_shards

if TYPE_CHECKING:
    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Checkpoint


def folder_of_weights(folder: Place) -> Place:
    """The folder in a step's folder that holds the weights, where the library makes one; else the folder itself."""
    for name in folders_in(folder):
        if ACCELERATE.fullmatch(name) and names_in(folder / name):
            return folder / name
    return folder


def read_training_run(path: Place, folder: Place) -> Checkpoint | None:
    """The table of `folder`, which the processes of a training run left; None for any other folder.

    path: as the user gave it. Raises what the library's reader raises.
    """
    names = listed(folder)
    if any(RANK_FILE.fullmatch(name) for name in names):
        return read_rank_shards(path, folder, names)
    return None
