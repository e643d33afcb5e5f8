"""A folder of a file system as a destination: files are renamed into it, out of private folders beside its notes."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.small_file import read_small
from weightsmith.checkpoint.sub_folders import with_sub_files
from weightsmith.checkpoint.unfinished import PARTS
from weightsmith.convert.destination.destination import ANEW, FileState
from weightsmith.convert.finish.leftovers import clean_leftovers
from weightsmith.convert.finish.staging import staging, usual_mode
from weightsmith.errors import TargetRefused
from weightsmith.process.durable import claim_file, move_file, replace_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Event

    from weightsmith.convert.finish.staging import StagingFolder

_PRIVATE = re.compile(r"\.(.+)\.weightsmith-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """place: its real path."""

    place: Path
    tells_bytes: bool = False
    costs_room: bool = False

    def begin(self) -> None:
        self.place.mkdir(mode=0o700, exist_ok=True)
        notes = self._notes
        notes.mkdir(mode=0o700, exist_ok=True)
        if notes.is_symlink() or notes.lstat().st_uid != os.geteuid():
            raise TargetRefused(self.place, f"its {PARTS} is not ours", ANEW)

    def files(self) -> dict[str, FileState]:
        found = {}
        for name in self._names():
            with suppress(FileNotFoundError):  # a part that ends at this moment
                found[name] = FileState((self.place / name).lstat().st_size)
        return found

    def _names(self) -> Iterator[str]:
        if not self.place.is_dir():
            return
        yield from (name for name in with_sub_files(self.place) if name != PARTS)
        if self._notes.is_dir():
            with os.scandir(self._notes) as entries:
                yield from (f"{PARTS}/{entry.name}" for entry in entries if not entry.is_dir())

    def read(self, name: str, most: int) -> bytes:
        return read_small(self.place / name, most)

    def claim(self, name: str, data: bytes) -> bool:
        return claim_file(self.place / name, data)

    def put(self, name: str, data: bytes) -> None:
        replace_file(self.place / name, data)

    def private(self, name: str, nbytes: int) -> AbstractContextManager[StagingFolder]:
        """On the same file system, so that files are renamed out of it. They find room when they are allocated."""
        return staging(self._notes / name)

    def deliver(self, path: Path, name: str, stop: Event) -> FileState:
        nbytes = path.lstat().st_size
        target = self.place / name
        target.parent.mkdir(exist_ok=True)
        move_file(path, target)
        return FileState(nbytes)

    def remove(self, names: Collection[str]) -> None:
        for name in names:
            (self.place / name).unlink(missing_ok=True)

    def end(self, notes: str) -> None:
        if (self.place / notes).is_dir():
            (self.place / notes).rmdir()

    def clear_dead_runs(self, own: StagingFolder) -> tuple[str, ...]:
        for name in sorted({path.name for path in self._notes.iterdir()} - {own.named.name}):
            if found := _PRIVATE.fullmatch(name):
                clean_leftovers(self._notes / found[1])
        return ()

    def publish(self, own: StagingFolder) -> None:
        self.place.chmod(usual_mode(own))

    @property
    def _notes(self) -> Path:
        return self.place / PARTS
