"""Are the files of an output still those that were written? Their hashes, against weightsmith.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import read_json_object
from weightsmith.checkpoint.hashing import HASHES
from weightsmith.checkpoint.manifest_file import MANIFEST, recorded_files
from weightsmith.convert.finish.digests import digest
from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.values.parallel import default_workers

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint.manifest_file import RecordedFile

SAME, CHANGED, SIZE, MISSING, EXTRA = "same", "changed", "other size", "missing", "not listed"


def check_hashes(folder: Path, threads: int | None = None) -> list[tuple[str, str]]:
    """(file, verdict) for each file that the manifest lists, in its order, then for those that it does not.

    Verdicts: SAME, CHANGED (same size, other bytes), SIZE, MISSING, EXTRA (somebody put it there; hidden files
    are left out). The manifest itself is not listed: whoever can change a file can change it too. Raises
    MissingInput or InvalidConfig when there is no manifest to go by.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingInput(path, "does not exist", "only what `weightsmith convert` wrote has one")
    name, listed = _read(path)
    verdicts = [(file.name, _verdict(folder / file.name, file, name, threads)) for file in listed]
    known = {file.name for file in listed} | {MANIFEST}
    extra = sorted(p.name for p in folder.iterdir() if p.name not in known and not p.name.startswith("."))
    return verdicts + [(file, EXTRA) for file in extra]


def _verdict(path: Path, stated: RecordedFile, name: str, threads: int | None) -> str:
    if not path.is_file():
        return MISSING
    if path.stat().st_size != stated.nbytes:
        return SIZE
    return SAME if digest(path, name, threads or default_workers()) == stated.digest else CHANGED


def _read(path: Path) -> tuple[str, tuple[RecordedFile, ...]]:
    """(hash name, files). Raises InvalidConfig; a file name may not lead out of the folder."""
    document = read_json_object(path)
    name = document.get("hash")
    if name not in HASHES:
        raise InvalidConfig(path, "does not name a hash that is known here", "convert again")
    try:
        return str(name), recorded_files(document.get("output"))
    except ValueError as error:
        raise InvalidConfig(path, str(error), "do not trust it; convert again") from error
