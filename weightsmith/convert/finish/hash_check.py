"""Are the files of an output still those that were written? Their hashes, against weightsmith.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint import read_json_object
from weightsmith.checkpoint.file_bytes import unreadable
from weightsmith.checkpoint.hashing import HASHES, opened_hash
from weightsmith.checkpoint.manifest_file import MANIFEST, MANIFEST_LIMITS, recorded_files
from weightsmith.checkpoint.model_files import is_weights
from weightsmith.checkpoint.place import is_regular
from weightsmith.checkpoint.small_file import is_there, open_named
from weightsmith.checkpoint.sub_folders import is_sub_folder, with_sub_files
from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.values.parallel import default_workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.checkpoint.manifest_file import HashVerdict, RecordedFile
    from weightsmith.checkpoint.place import Place


def check_hashes(
    folder: Place, threads: int | None = None, *, most: int | None = None
) -> list[tuple[str, HashVerdict]]:
    """(file, verdict) for each file that the manifest lists, in its order, then for those that it does not.

    threads: None for as many as this process may use. most: bytes that may be hashed, in the manifest's order; of
    weights, and of what is beyond, the size alone is compared. None: all is hashed.

    Hidden files are left out. The manifest itself is not listed: whoever can change a file can change it too. Raises
    MissingInput or InvalidConfig when there is no manifest to go by.
    """
    path = folder / MANIFEST
    if not is_there(path):
        raise MissingInput(path, "does not exist", "only what `weightsmith convert` wrote has one")
    name, recorded = _read(path)
    hashed = {file.name for file in recorded} if most is None else _small_ones(recorded, most)
    verdicts: list[tuple[str, HashVerdict]] = [
        (file.name, _verdict(folder / file.name, file, name if file.name in hashed else None, threads))
        for file in recorded
    ]
    known = {file.name for file in recorded} | {MANIFEST}
    extra = [name for name in _all_names(folder) if name not in known and not name.startswith(".")]
    unlisted: list[tuple[str, HashVerdict]] = [(file, "not listed") for file in extra]
    return verdicts + unlisted


def recorded_hashes(folder: Place) -> dict[str, str]:
    """`blake3:` or `sha256:` and the hash, of each file that the manifest lists. Raises as `check_hashes`."""
    name, recorded = _read(folder / MANIFEST)
    return {file.name: f"{name}:{file.digest}" for file in recorded}


def _small_ones(recorded: Iterable[RecordedFile], most: int) -> set[str]:
    """The names of files that are no weights and have so many bytes together."""
    names = set()
    for file in recorded:
        if not is_weights(file.name) and 0 <= file.nbytes <= most:
            most -= file.nbytes
            names.add(file.name)
    return names


def _all_names(folder: Place) -> list[str]:
    """The files of the folder, and of the known folders in it."""
    if not isinstance(folder, Path):
        return list(folder.files_in(is_sub_folder))
    try:
        return list(with_sub_files(folder))
    except OSError as error:
        raise unreadable(folder, error) from error


def _verdict(path: Place, stated: RecordedFile, name: str | None, threads: int | None) -> HashVerdict:
    """name: of the hash; None: only sizes are compared.

    A link is followed: a hub's download holds nothing else, and only a hash comes of it.
    """
    if not is_regular(path):
        return "missing"
    with open_named(path) as file:
        if file.size != stated.nbytes:
            return "other size"
        if name is None:
            return "same size"
        found = opened_hash(file, name, threads or default_workers())
    return "same" if found == stated.digest else "changed"


def _read(path: Place) -> tuple[str, tuple[RecordedFile, ...]]:
    """(hash name, files). Raises InvalidConfig; a file name may not lead out of the folder."""
    document = read_json_object(path, MANIFEST_LIMITS)
    name = document.get("hash")
    if name not in HASHES:
        raise InvalidConfig(path, "does not name a hash that is known here", "convert again")
    try:
        return str(name), recorded_files(document.get("output"))
    except ValueError as error:
        raise InvalidConfig(path, str(error), "do not trust it; convert again") from error
