"""Copies a file that lies beside the weights, and nothing from elsewhere that took its name since it was planned."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import new_hasher
from weightsmith.checkpoint.place import is_link
from weightsmith.checkpoint.small_file import open_own
from weightsmith.convert.stamps import changed
from weightsmith.errors import MissingInput
from weightsmith.process.durable import new_file, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.checkpoint.place import Place

_CHUNK = 1 << 20


def copy_side_file(source: Place, path: Path, hash_name: str) -> tuple[int, str]:
    """Writes a new file at `path`; (bytes, hash) of what was written. Memory: one chunk.

    Raises CorruptCheckpoint where it is gone, grows shorter or is all holes; HostileCheckpoint where it has become a
    link that leads out; MissingInput where it cannot be read or is no regular file any more; OSError where `path`
    cannot be written.
    """
    hasher = new_hasher(hash_name)
    with _opened(source) as file, new_file(path) as target:
        file.need_data()
        for start in range(0, file.size, _CHUNK):
            data = file.read(start, min(_CHUNK, file.size - start))
            hasher.update(memoryview(data))
            target.write(data)
        return file.size, hasher.hexdigest()


@contextmanager
def in_sub_folder(root: Place, folder: Path, name: str) -> Iterator[None]:
    """For `folder/file`, makes the folder before the file is copied, and brings its names to the disk afterwards.

    Raises CorruptCheckpoint where the folder of the source has become a link, which may lead anywhere.
    """
    above, _, _ = name.rpartition("/")
    if not above:
        yield
        return
    with suppress(FileExistsError):
        (folder / above).mkdir()
    yield
    if is_link(root / above):
        raise changed(root, above)
    sync_folder(folder / above)


def _opened(source: Place) -> ByteFile:
    try:
        return open_own(source)
    except MissingInput as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise changed(source.parent, source.name) from error
        raise
