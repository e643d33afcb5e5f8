"""The small tensors in which some schemes keep a shape: a few bytes each, in many files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.place import open_file
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from types import TracebackType

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.checkpoint.table import Checkpoint, Tensor

# A quant_state of bitsandbytes has about 150 bytes; more is something else.
MOST_BYTES = 65_536


class SmallTensors:
    """Reads the bytes of small tensors; the file that was read last stays open until the next one.

    count: how many were asked for.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.count = 0
        self._name: str | None = None
        self._file: ByteFile | None = None

    def __enter__(self) -> SmallTensors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def read(self, tensor: Tensor) -> bytes | None:
        """The tensor's bytes; None when it is large or strided, or its file cannot be read."""
        self.count += 1
        if tensor.nbytes > MOST_BYTES or not tensor.contiguous:
            return None
        try:
            return self._opened(tensor.storage.file).read(tensor.start, tensor.nbytes)
        except WeightsmithError:
            return None

    def _opened(self, name: str) -> ByteFile:
        if self._file is None or self._name != name:
            self._close()
            self._file, self._name = open_file(self._checkpoint.root / name, name), name
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._name = None
