"""A folder that several runs of `weightsmith convert --part` are filling, before `--join` has finished it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import is_there
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.checkpoint.place import Place

# The folder in the output where the runs note what they share and what they have finished.
PARTS = ".weightsmith-parts"
# In it from the first run until the end of the join.
PLAN = "plan.json"


def refuse_unfinished(folder: Place, names: Sequence[str]) -> None:
    """Raises MissingInput for a folder that is not joined yet. names: of all that is in it, hidden files too."""
    if PARTS in names and is_there(folder / PARTS / PLAN):
        there = sum(name.endswith(".safetensors") for name in names)
        raise MissingInput(
            folder,
            f"is written in parts and not finished (weights files so far: {there})",
            "let the other parts end, then: weightsmith convert SRC DST --join",
        )
