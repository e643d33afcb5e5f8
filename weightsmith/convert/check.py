"""Are the files of an output still those that were written? Their hashes, against weightsmith.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import read_json_object
from weightsmith.convert.digests import HASHES, digest
from weightsmith.convert.leftovers import MANIFEST
from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.values.parallel import default_workers

if TYPE_CHECKING:
    from pathlib import Path

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
    verdicts = [(file, _verdict(folder / file, size, stated, name, threads)) for file, size, stated in listed]
    known = {file for file, _, _ in listed} | {MANIFEST}
    extra = sorted(p.name for p in folder.iterdir() if p.name not in known and not p.name.startswith("."))
    return verdicts + [(file, EXTRA) for file in extra]


def _verdict(path: Path, size: int, stated: str, name: str, threads: int | None) -> str:
    if not path.is_file():
        return MISSING
    if path.stat().st_size != size:
        return SIZE
    return SAME if digest(path, name, threads or default_workers()) == stated else CHANGED


def _read(path: Path) -> tuple[str, list[tuple[str, int, str]]]:
    """(hash name, [(file, bytes, hash)]). Raises InvalidConfig; a file name may not lead out of the folder."""
    document = read_json_object(path)
    name, output = document.get("hash"), document.get("output")
    if name not in HASHES or not isinstance(output, list):
        raise InvalidConfig(path, "does not name its hash and its output files", "convert again")
    listed: list[tuple[str, int, str]] = []
    for entry in output:
        fields = entry if isinstance(entry, dict) else {}
        file, size, stated = fields.get("file"), fields.get("bytes"), fields.get("hash")
        if not (isinstance(file, str) and type(size) is int and isinstance(stated, str)):
            raise InvalidConfig(path, f"has an entry that is no file: {str(entry)[:80]}", "convert again")
        if "/" in file or "\\" in file or "\0" in file or file in ("", ".", ".."):
            raise InvalidConfig(path, f"lists {file!r}, which is no file of this folder", "do not trust it")
        listed.append((file, size, stated))
    return str(name), listed
