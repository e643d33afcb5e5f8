"""A folder in which each file appears whole or not at all: what a conversion in parts needs of it, and no more.

A file system has renames for that, an object store has PUT. Everything above this door is the same for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weightsmith.checkpoint.json_file import JsonFaultError, parse_object
from weightsmith.errors import TargetRefused, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Event

    from weightsmith.checkpoint.json_file import JsonLimits
    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.finish.staging import StagingFolder
    from weightsmith.json_value import JsonObject


# The way out of a folder whose parts cannot be gone on with.
ANEW = "name another folder, or remove this one and begin anew"


class NoDocumentError(Exception):
    """A file of a destination is no JSON object that can be read, or is not there. fact: why."""

    def __init__(self, fact: str) -> None:
        super().__init__(fact)
        self.fact = fact


@dataclass(frozen=True, slots=True)
class FileState:
    """A file that is there. tag: what the store calls these bytes; empty in a folder of a file system."""

    nbytes: int
    tag: str = ""


class Destination(Protocol):
    """The folder of an output. Every method may raise TargetRefused, and OSError where it lies in a file system.

    `tells_bytes`: a file with the tag that its writer was given has its writer's bytes, and need not be read again.
    `costs_room`: what is made waits on this machine's disk until it is sent, so few files are made at a time.
    """

    @property
    def tells_bytes(self) -> bool: ...

    @property
    def costs_room(self) -> bool: ...

    @property
    def place(self) -> Place:
        """The folder, as errors name it."""
        ...

    def begin(self) -> None:
        """Makes the folder, where folders are made. Raises TargetRefused where others have made what is ours."""
        ...

    def files(self) -> Mapping[str, FileState]:
        """All files by their paths in the folder, hidden ones too. A folder of a stranger's may stand for its files."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """The bytes of a small file. Raises WeightsmithError where it is absent, unreadable, or larger than `most`;
        TargetRefused where a store fails."""
        ...

    def claim(self, name: str, data: bytes) -> bool:
        """Puts a file there if nothing has its name. Of several runs that do so one is told True."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Puts a small file there, in place of what has its name."""
        ...

    def private(self, name: str, nbytes: int) -> AbstractContextManager[StagingFolder]:
        """A local folder that is this run's alone, gone at the end. nbytes: that must find room in it at a time."""
        ...

    def deliver(self, path: Path, name: str, stop: Event) -> FileState:
        """Takes a file out of the private folder to its place, and proves that it arrived. stop: set it to give up."""
        ...

    def remove(self, names: Collection[str]) -> None:
        """Removes files that are there or not."""
        ...

    def end(self, notes: str) -> None:
        """Removes the folder of the notes, which is empty."""
        ...

    def clear_dead_runs(self, own: StagingFolder) -> tuple[str, ...]:
        """Removes what runs that died left; what the user should know of it. Raises TargetRefused where one is known
        to be at work."""
        ...

    def publish(self, own: StagingFolder) -> None:
        """Gives the folder the mode of a usual one."""
        ...


def document_in(destination: Destination, name: str, limits: JsonLimits) -> JsonObject:
    """A JSON file of a destination. Raises NoDocumentError; TargetRefused where a store fails, which says nothing of
    what it holds."""
    try:
        return parse_object(destination.read(name, limits.bytes), limits=limits)
    except TargetRefused:
        raise
    except (WeightsmithError, JsonFaultError) as error:
        raise NoDocumentError(error.fact) from error
