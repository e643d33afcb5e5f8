"""Output files that could not be written are refused before hours of work, not after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from pathlib import Path


def need_writable(target: Path) -> None:
    """Raises TargetRefused for an output file whose folder does not exist, or that is a folder itself."""
    if not target.resolve().parent.is_dir():
        raise TargetRefused(target, "its folder does not exist", "make the folder or name another file")
    if target.is_dir():
        raise TargetRefused(target, "is a folder", "name a file in it")
