"""A folder of an object store as a destination: no rename, no append, but a PUT is seen whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted
from weightsmith.convert.destination.send import GivenUpError, send
from weightsmith.convert.finish.leftovers import MARKER
from weightsmith.convert.finish.staging import StagingFolder
from weightsmith.errors import TargetRefused, WeightsmithError
from weightsmith.process.durable import create_file
from weightsmith.process.scratch import scratch_folder
from weightsmith.process.signals import unwound_by_signals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path
    from threading import Event

    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.destination.bucket import Bucket
    from weightsmith.convert.destination.destination import FileState

# Two runs that claim one name at the same moment are both asked to come again (ConditionalRequestConflict).
_CLAIMS = 5


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """place: as the user named it. folder: its key, without slashes around it."""

    place: Place
    folder: str
    bucket: Bucket = field(repr=False)
    tells_bytes: bool = True
    costs_room: bool = True

    def begin(self) -> None:
        """Nobody makes folders here."""

    def files(self) -> dict[str, FileState]:
        inside = self._key("")
        with _told(self.place):
            listed = {key.removeprefix(inside): state for key, state in self.bucket.listed(inside)}
        # What a console calls a folder is an empty object, whose key ends in a slash.
        return {name: state for name, state in listed.items() if name and (state.nbytes or name[-1] != "/")}

    def read(self, name: str, most: int) -> bytes:
        with _told(self.place):
            data = self.bucket.read(self._key(name), 0, most + 1)
        if len(data) > most:
            raise TargetRefused(self.place, f"its {quoted(name)} has more than {most:,} bytes", "remove it")
        return data

    def claim(self, name: str, data: bytes) -> bool:
        """Looks first: not every store heeds the condition, and then this is all that is known."""
        key = self._key(name)
        for _ in range(_CLAIMS):
            with _told(self.place):
                if key in dict(self.bucket.listed(key)):
                    return False
                try:
                    self.bucket.put(key, data, only_new=True)
                    return True
                except FileExistsError:
                    return False
                except OSError as error:
                    if "ConditionalRequestConflict" not in repr(error.__cause__):
                        raise
        raise TargetRefused(self.place, "many runs begin in it at this moment", "run again")

    def put(self, name: str, data: bytes) -> None:
        with _told(self.place):
            self.bucket.put(self._key(name), data)

    @contextmanager
    def private(self, name: str, nbytes: int) -> Iterator[StagingFolder]:
        """In TMPDIR. Raises TargetRefused where it has too little room."""
        with unwound_by_signals(), scratch_folder() as scratch:
            free = shutil.disk_usage(scratch).free
            if free < nbytes:
                fact = f"has {free:,} bytes free, and what is made waits there until it is sent: {nbytes:,} at a time"
                way_out = "set TMPDIR to a folder with room, or use a smaller --max-shard-size"
                raise TargetRefused(scratch.parent, fact, way_out)
            folder = scratch / name
            folder.mkdir(mode=0o700)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                create_file(folder / MARKER, b"")
                yield StagingFolder(folder, descriptor)
            finally:
                os.close(descriptor)

    def deliver(self, path: Path, name: str, stop: Event) -> FileState:
        with _told(self.place):
            sent = send(self.bucket, self._key(name), path, stop)
        path.unlink()
        return sent

    def remove(self, names: Collection[str]) -> None:
        with _told(self.place):
            self.bucket.delete([self._key(name) for name in names])

    def end(self, notes: str) -> None:
        """A folder without objects is none."""

    def clear_dead_runs(self, own: StagingFolder) -> tuple[str, ...]:
        """Aborts what was begun to be sent into the folder itself and not ended: all files are there by now.

        Keys that may write need not be allowed to list these: then a note says so.
        """
        inside = self._key("")
        try:
            with _told(self.place):
                for key, upload in self.bucket.uploads(inside):
                    if "/" not in key.removeprefix(inside):
                        self.bucket.abort(key, upload)
        except TargetRefused as error:
            return (
                f"whether killed runs left uploads that nobody ended could not be found out: {error.fact}",
            )
        return ()

    def publish(self, own: StagingFolder) -> None:
        """Who may read it is the bucket's business."""

    def _key(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """Makes one line of what the store's library raises. Raises TargetRefused."""
    try:
        yield
    except (WeightsmithError, GivenUpError):
        raise
    except FileNotFoundError as error:
        fact = f"there is no such bucket or object ({_words(error)})"
        raise TargetRefused(place, fact, "make the bucket, or check its name") from error
    except PermissionError as error:
        way_out = "set keys that may list, read, put and delete there, as the store's library reads them"
        raise TargetRefused(place, f"may not be written ({_words(error)})", way_out) from error
    except Exception as error:
        way_out = (
            "check its endpoint, keys and network, then run the same command again: what is finished is kept"
        )
        raise TargetRefused(place, f"the store fails ({_words(error)})", way_out) from error


def _words(error: Exception) -> str:
    """The store's own, where its library hands them on."""
    code, message = (getattr(error.__cause__, name, "") for name in ("code", "message"))
    said = f"{code}: {message}" if code else " ".join(str(error).split())
    return quoted(said or type(error).__name__, 160)[1:-1]
