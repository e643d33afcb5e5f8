"""An output file that cannot be written is refused with its path and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from weightsmith.errors import TargetRefused
from weightsmith.process.targets import need_writable

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_in_a_folder_that_exists_is_taken(tmp_path: Path) -> None:
    need_writable(tmp_path / "r.md")


def test_a_missing_folder_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetRefused, match="its folder does not exist"):
        need_writable(tmp_path / "absent" / "r.md")
    with pytest.raises(TargetRefused, match="is a folder"):
        need_writable(tmp_path)
