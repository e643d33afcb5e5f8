"""The names in the `.metadata` of torch's distributed checkpoints, and the inert values that stand for them.

Sources: torch/distributed/checkpoint/metadata.py and filesystem.py. Data classes are pickled as an empty object
and a state: a dict of their fields, for TensorProperties a tuple that begins with the dtype.
"""

from __future__ import annotations

from typing import NoReturn

from weightsmith.checkpoint.layout import shape_fault
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.pickle_state import Inert
from weightsmith.checkpoint.torch_dtypes import DTYPES
from weightsmith.checkpoint.torch_objects import DType, Name
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint

_CLASSES = "torch.distributed.checkpoint.metadata"
METADATA = f"{_CLASSES}.Metadata"
TENSOR = f"{_CLASSES}.TensorStorageMetadata"
CHUNK = f"{_CLASSES}.ChunkStorageMetadata"
INFO = "torch.distributed.checkpoint.filesystem._StorageInfo"
_INDEX = f"{_CLASSES}.MetadataIndex"
_INERT = {
    METADATA,
    TENSOR,
    CHUNK,
    INFO,
    _INDEX,
    f"{_CLASSES}.BytesStorageMetadata",
    f"{_CLASSES}.TensorProperties",
    f"{_CLASSES}.StorageMeta",
    f"{_CLASSES}._MEM_FORMAT_ENCODING",
    # Megatron keeps the plans by which its processes wrote (core/dist_checkpointing/strategies).
    *(
        f"torch.distributed.checkpoint.planner.{name}"
        for name in ("SavePlan", "WriteItem", "WriteItemType", "TensorWriteData", "BytesIOWriteData")
    ),
    "megatron.core.dist_checkpointing.strategies.torch.MCoreSavePlan",
    "megatron.core.dist_checkpointing.strategies.torch.MCoreMetadata",
    "torch.serialization._get_layout",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "collections.OrderedDict",
    "builtins.set",
}


def entry(name: str, offsets: tuple[int, ...] | None) -> str:
    """The text that stands for a MetadataIndex as a key: where a chunk begins, and of which tensor."""
    return f"{'' if offsets is None else ','.join(map(str, offsets))}|{name}"


class DistributedVocabulary:
    """What the globals of one `.metadata` stand for; nothing that it names is imported or called."""

    __slots__ = ("subject",)

    def __init__(self, subject: str) -> None:
        self.subject = subject

    def find(self, module: str, name: str) -> object:
        """Raises HostileCheckpoint for every name that is not listed."""
        dotted = f"{module}.{name}"
        if dotted == "torch.Size" or dotted in _INERT:
            return Name(dotted)
        if module == "torch" and name in DTYPES:
            return DType(name)
        raise HostileCheckpoint(
            self.subject,
            f"the pickle names {quoted(dotted)}, which no checkpoint's metadata needs (nothing was executed)",
            "do not load it with torch; get it from a source that you trust",
        )

    def call(self, callee: object, args: tuple[object, ...]) -> object:
        """A `torch.Size` is its tuple; everything else stays its name."""
        if not isinstance(callee, Name):
            self._refuse("calls something that is no name")
        if callee.dotted != "torch.Size":
            return Inert(callee.dotted)
        if len(args) != 1 or not isinstance(args[0], (tuple, list)):
            self._refuse("makes a torch.Size from something other than a tuple")
        # Not copied: one list named by thousands of calls would be.
        return args[0]

    def persistent(self, key: object) -> object:
        self._refuse("uses a persistent id")

    def key(self, key: object) -> str | None:
        """Chunks are found by (tensor, offsets); entries under other keys are of no use here."""
        state = key.state if isinstance(key, Inert) and key.name == _INDEX else None
        if not isinstance(state, dict):
            return None
        name, offsets = state.get("fqn"), state.get("offset")
        known = offsets is None or (isinstance(offsets, tuple) and shape_fault(offsets) is None)
        return entry(name, offsets) if type(name) is str and known else None

    def _refuse(self, fact: str) -> NoReturn:
        raise CorruptCheckpoint(
            self.subject, f"the pickle {fact}", "the checkpoint is damaged; copy it again from its source"
        )
