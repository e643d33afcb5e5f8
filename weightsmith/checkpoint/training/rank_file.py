"""One process's file: what its pickle describes, and the tensors in it as bytes of the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.place import open_file
from weightsmith.checkpoint.recognise import recognise
from weightsmith.checkpoint.state_dict import placed
from weightsmith.checkpoint.torch_zip import read_archive
from weightsmith.checkpoint.training.objects import RunVocabulary
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Storage, Tensor
    from weightsmith.checkpoint.torch_objects import StorageRef, TensorRef

# Blocks of tensors in all files: a thousand processes with a thousand tensors each. One takes some 100 us.
MOST_BLOCKS = 1_000_000


@dataclass(frozen=True, slots=True)
class RankFile:
    """What one file holds. subject: its path, for messages. name: relative to the folder. content: of its pickle."""

    subject: str
    name: str
    size: int
    content: dict[str, object]
    place: Callable[[StorageRef], Storage]

    def tensor(self, name: str, ref: TensorRef) -> Tensor:
        """The tensor with its bytes. Raises as `placed`."""
        return placed(self.subject, name, ref, self.place)

    def section(self, key: str) -> dict[str, object]:
        """The dictionary under a key; empty where there is none."""
        found = self.content.get(key)
        return found if isinstance(found, dict) else {}


def read_rank_file(root: Place, name: str) -> RankFile:
    """A file of torch.save that holds a dictionary.

    Raises what `read_archive` raises, MissingInput, and UnknownFormat for another kind of file.
    """
    with open_file(root / name, name) as file:
        if recognise(file) != "torch-zip":
            way_out = "save it again with a torch of 1.6 or newer"
            raise UnknownFormat(file.subject, "is no zip archive of torch, as training runs write", way_out)
        content, place, _ = read_archive(file, RunVocabulary(file.subject), sparing=file.costly)
        if not isinstance(content, dict):
            way_out = "the file is damaged or of another program; copy it again from the training run"
            raise CorruptCheckpoint(file.subject, "holds no dictionary", way_out)
        return RankFile(file.subject, name, file.size, content, place)


def refuse_many_blocks(subject: object, count: int) -> None:
    """Raises HostileCheckpoint where more blocks of tensors are described than any run has."""
    if count > MOST_BLOCKS:
        way_out = "join it with the library that wrote it"
        raise HostileCheckpoint(
            subject, f"describes {count:,} blocks of tensors, more than {MOST_BLOCKS:,}", way_out
        )
