"""Hashes source files from the bytes that the conversion reads anyway, where it reads them in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import new_hasher
from weightsmith.checkpoint.place import open_file
from weightsmith.convert.stream.pieces import stretches

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from weightsmith.checkpoint.hashing import Hasher
    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.stream.pieces import FileBytes

_CHUNK = 1 << 20


def files_read_in_order(plan: OutputPlan, done: Collection[str] = ()) -> set[str]:
    """The source files whose tensors are read in the order of their bytes, no byte twice.

    done: weights files that are not written now.
    """
    reached: dict[str, int] = {}
    others: set[str] = set()
    for file, start, stop in stretches(plan, done):
        if start < reached.get(file, 0):
            others.add(file)
        reached[file] = stop
    return reached.keys() - others


class SourceHasher:
    """Hashes some files of one folder from the bytes that the conversion reads.

    What the conversion does not read, such as headers, is read here when its turn comes.
    """

    def __init__(
        self,
        root: Place,
        sizes: Mapping[str, int],
        hash_name: str,
        finished: Callable[[str, int, str], None] | None = None,
    ) -> None:
        """root: the folder.

        sizes: the files to hash -> how many bytes they have.
        hash_name: one of HASHES.
        finished: called with the name, the bytes and the hash of each file that was read to its end.
        """
        self._finished = finished
        self._root, self._sizes = root, sizes
        self._hashers: dict[str, Hasher] = {file: new_hasher(hash_name) for file in sizes}
        self._next = dict.fromkeys(sizes, 0)

    def add(self, read: FileBytes) -> None:
        """Hashes bytes that were read. Call it from one thread at a time, in the order of each file's bytes.

        Bytes of other files are passed over. Raises as `digests`.
        """
        if read.file in self._hashers and len(read.data):
            self._fill(read.file, read.start)
            self._hashers[read.file].update(read.data.data)
            self._next[read.file] += len(read.data)
            size = self._sizes[read.file]
            if self._finished is not None and self._next[read.file] == size:
                self._finished(read.file, size, self._hashers[read.file].hexdigest())

    def digests(self) -> dict[str, tuple[int, str]]:
        """File -> (bytes, hash), after the last read.

        Raises CorruptCheckpoint when a file has become shorter, MissingInput when it cannot be read.
        """
        for file, size in self._sizes.items():
            self._fill(file, size)
        return {file: (size, self._hashers[file].hexdigest()) for file, size in self._sizes.items()}

    def _fill(self, file: str, end: int) -> None:
        """Reads up to byte `end`: headers, padding, tensors that nobody wanted.

        Of a torch file that is some hundred bytes before each tensor: what lies behind them has been read already.
        """
        if self._next[file] == end:
            return
        with open_file(self._root / file, file) as opened:
            alone = opened.alone()
            while self._next[file] < end:
                data = alone.read(self._next[file], min(_CHUNK, end - self._next[file]))
                self._hashers[file].update(memoryview(data))
                self._next[file] += len(data)
