"""Changes bytes of the pickle in a file of torch.save, as damage or somebody's hand would."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path


def pickle_place(file: Path) -> tuple[int, int]:
    """(first byte, bytes) of the pickle in the archive."""
    with zipfile.ZipFile(file) as archive:
        entry = next(one for one in archive.infolist() if one.filename.endswith("data.pkl"))
        header = archive.open(entry)
        start = (
            entry.header_offset
            + 30
            + int.from_bytes(file.read_bytes()[entry.header_offset + 26 :][:2], "little")
        )
        start += int.from_bytes(file.read_bytes()[entry.header_offset + 28 :][:2], "little")
        header.close()
    return start, entry.file_size


def change(data: st.DataObject, original: bytes, place: tuple[int, int], file: Path) -> None:
    """Writes the original with up to four bytes of its pickle changed."""
    raw = bytearray(original)
    start, size = place
    for _ in range(data.draw(st.integers(1, 4))):
        raw[start + data.draw(st.integers(0, size - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(raw)


def read_or_refused(data: st.DataObject, source: Path, name: str, folder: Path) -> None:
    """A copy of a run in `folder`, made once, with one file of it changed: it is read, or refused in words."""
    if not folder.exists():
        shutil.copytree(source, folder)
    change(data, (source / name).read_bytes(), pickle_place(source / name), folder / name)
    with contextlib.suppress(WeightsmithError):  # anything else fails the test
        open_checkpoint(folder)
