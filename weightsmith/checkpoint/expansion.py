"""Checkpoints that stand for far more bytes than their files hold: repeated views, or holes where data should be.

Both cost nothing to make and anything to read. Opening them is cheap; what reads or writes all values asks here first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.place import open_file
from weightsmith.checkpoint.table import Problem
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Checkpoint

# Tied and shared weights make honest factors: 4 where a model's embeddings have four names, up to 13 for a part of one
# (Zamba's shared block). Below the second number a factor costs nothing that matters.
LARGEST_FACTOR = 16
ALWAYS_READ = 64 << 20


def expanded(checkpoint: Checkpoint) -> Problem | None:
    """`expanded`: what the tensors stand for, where their files cannot hold it by far."""
    held = sum(checkpoint.files.values())
    if not _beyond(checkpoint.nbytes, held):
        return None
    text = f"{checkpoint.path}: its files have {held:,} bytes and its tensors stand for {checkpoint.nbytes:,}"
    return Problem("expanded", f"{text}: views that repeat their bytes; the values are not read or converted")


def refuse_expanded(checkpoint: Checkpoint) -> None:
    """Raises HostileCheckpoint where reading all values would read LARGEST_FACTOR times what the files hold."""
    if expanded(checkpoint):
        held = sum(checkpoint.files.values())
        raise HostileCheckpoint(
            checkpoint.path,
            f"has {held:,} bytes, and its tensors stand for {checkpoint.nbytes:,}, more than {LARGEST_FACTOR} times as "
            "many: views that repeat their bytes",
            "where this is meant, save tensor.clone() of each in a file of its own",
        )


def refuse_holes(checkpoint: Checkpoint) -> None:
    """Raises CorruptCheckpoint where most bytes of the files were never written: an unfinished download."""
    if checkpoint.nbytes <= ALWAYS_READ:
        return
    enough = checkpoint.nbytes // LARGEST_FACTOR
    written = 0
    for name in checkpoint.files:
        with open_file(checkpoint.root / name, name) as file:
            written += file.written(enough)
        if written >= enough:
            return
    raise CorruptCheckpoint(
        checkpoint.path,
        f"has only {written:,} of its {sum(checkpoint.files.values()):,} bytes on the disk; the rest are holes",
        "the download was not finished; download it again",
    )


def _beyond(stands_for: int, held: int) -> bool:
    return stands_for > max(ALWAYS_READ, LARGEST_FACTOR * held)
