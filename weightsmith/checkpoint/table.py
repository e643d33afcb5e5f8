"""The one table that every other room reads: which tensor, of which dtype and shape, lies in which bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Literal

from weightsmith.checkpoint.dtypes import BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.training.facts import TrainingRun
    from weightsmith.documents import CheckpointSummary, ProblemEntry
    from weightsmith.json_value import Json

# What kind of files hold the weights; "mixed": several kinds.
# "torch-shards": torch files of single processes of a training run, joined.
Format = Literal[
    "safetensors", "torch-zip", "torch-legacy", "torch-distributed", "torch-shards", "gguf", "mixed"
]


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of bytes in one file: `file` is relative to the checkpoint's folder, the numbers are bytes."""

    file: str
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view on a storage. `offset` and `strides` count elements, as torch does.

    safetensors tensors are always contiguous with offset 0; torch files may hold transposed, expanded or
    sliced views and several tensors on one storage. pieces: of a tensor that was written by several
    processes, the blocks that fill it (checkpoint/tiling.py); storage and offset are then those of the first.
    corner: of such a block, the index of its first element in the whole.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: Storage
    offset: int
    strides: tuple[int, ...]
    pieces: tuple[Tensor, ...] = ()
    corner: tuple[int, ...] = ()

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor's own elements, packed; its storage may hold more."""
        return (prod(self.shape) * BITS[self.dtype] + 7) // 8

    @property
    def contiguous(self) -> bool:
        """Row-major without gaps; an axis of size 1 may have any stride, and so may a tensor without elements."""
        if self.pieces:
            return False
        if 0 in self.shape:
            return True
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True

    @property
    def files(self) -> tuple[str, ...]:
        """The files that its bytes lie in, in the order of its blocks."""
        return tuple(dict.fromkeys(piece.storage.file for piece in self.pieces or (self,)))

    @property
    def start(self) -> int:
        """Absolute byte offset of the first element in its file."""
        return self.storage.start + self.offset * BITS[self.dtype] // 8


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong that does not stop the reading. `code` is stable, `message` is for people.

    stops_loader: a loader does not get through with it, or runs another model than is stored.
    file: the side file that it is in, by its name beside the weights; empty where it is in the weights themselves.
    """

    code: str
    message: str
    stops_loader: bool = False
    file: str = ""

    def document(self) -> ProblemEntry:
        """One entry of `problems` in the JSON contract."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class FilePart:
    """What one weights file adds to a checkpoint: its tensors in file order and what is odd about them.

    read: the bytes that were parsed for it.
    config: of the model, where the file brings it.
    """

    format: Format
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    problems: tuple[Problem, ...]
    read: int
    config: dict[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the headers of one checkpoint say, verified against the files' sizes. No tensor data is held.

    path: as the user gave it.
    root: the folder that file names are relative to.
    files: name → bytes, in name order.
    tensors: by name, in file order.
    index: the file that says which tensor lies where, when there is one.
    metadata: the safetensors `__metadata__` entries.
    config: of the model, where the weights file brings it (GGUF); no other is looked for then.
    run: the training run that left it, where its processes wrote parts.
    copies: tensor -> the same numbers as other processes held them; equal if the run was sound.
    """

    path: Place
    root: Place
    format: Format
    files: Mapping[str, int]
    tensors: Mapping[str, Tensor]
    index: str | None
    metadata: Mapping[str, str]
    problems: tuple[Problem, ...]
    config: Mapping[str, Json] | None = None
    run: TrainingRun | None = None
    copies: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Elements of all tensors; a tensor that lies in another's bytes counts again."""
        return sum(t.elements for t in self.tensors.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors' own elements."""
        return sum(t.nbytes for t in self.tensors.values())

    def incomplete(self) -> tuple[Problem, ...]:
        """The problems that say that some of the model is not here."""
        # Other tensors without elements are honest: an order of channels that are in order (GPTQ's g_idx), a buffer.
        empty = any(0 in t.shape and t.name.endswith((".weight", ".bias")) for t in self.tensors.values())
        codes = {
            "index-missing-tensor",
            "one-of-several-shards",
            "one-of-several-slices",
            *(("empty-tensors",) if empty else ()),
        }
        return tuple(problem for problem in self.problems if problem.code in codes)

    def dtypes(self) -> dict[str, int]:
        """Parameters by dtype, most frequent first."""
        counts: dict[str, int] = {}
        for t in self.tensors.values():
            counts[t.dtype] = counts.get(t.dtype, 0) + t.elements
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def summary(self) -> CheckpointSummary:
        """The `checkpoint` object of the JSON contract."""
        return {
            "path": str(self.path),
            "format": self.format,
            "files": list(self.files),
            "tensors": len(self.tensors),
            "parameters": self.parameters,
            "bytes": self.nbytes,
            "dtypes": self.dtypes(),
        }
