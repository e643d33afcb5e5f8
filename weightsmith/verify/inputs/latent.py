"""The latent weights that a fused model was made from, where they are still there: its best control."""

from __future__ import annotations

import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import read_json_object
from weightsmith.checkpoint.file_bytes import need_folder
from weightsmith.checkpoint.hashing import HASHES, file_hash
from weightsmith.checkpoint.manifest_file import MANIFEST, MANIFEST_LIMITS, recorded_files
from weightsmith.checkpoint.small_file import is_there, listed, names_in
from weightsmith.errors import InvalidConfig, WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint.manifest_file import RecordedFile

# The converter whose source holds latent weights under the very names and shapes of its output.
_FUSES = "ternary"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True, slots=True)
class Latent:
    """folder: where the latent weights lie. hashes: by file, with the hash's name."""

    folder: Path
    hashes: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """hash_name: of the digests. files: what the conversion read."""

    hash_name: str
    files: tuple[RecordedFile, ...]


def find_latent(model: Path, named: Path | None) -> Latent | None:
    """The latent source of a converted folder: the one that is `named`, else a folder beside it with the same bytes.

    The manifest of the conversion tells it by names, sizes and hashes; without a manifest the user's word is taken,
    since the gates say whether it is true. Raises MissingInput or InvalidConfig for a named folder that is none, or
    not what the model was made from.
    """
    recorded = _recorded(model / MANIFEST)
    if named is None:
        return None if recorded is None else _beside(model.resolve(), recorded)
    need_folder(named, "name the folder of the latent weights")
    if recorded is None:
        return Latent(named.resolve(), _found(named))
    other = _other(named, recorded)
    if other is not None:
        fact = f"is not what {model} was converted from: {other} is not the file that {MANIFEST} records"
        raise InvalidConfig(named, fact, "name the source of that conversion")
    return Latent(named.resolve(), _hashes(recorded))


def _recorded(path: Path) -> _Recorded | None:
    """What a manifest says of a latent source; None where there is none, or one that is not to be trusted."""
    if not is_there(path):
        return None
    document = read_json_object(path, MANIFEST_LIMITS)
    name = document.get("hash")
    if document.get("converter") != _FUSES or name not in HASHES:
        return None
    try:
        files = recorded_files(document.get("source"))
    except ValueError:
        return None
    # The source's own config may be the one that the conversion corrected: it is not asked for.
    compared = tuple(file for file in files if file.name != "config.json")
    return _Recorded(str(name), compared) if compared else None


def _beside(model: Path, recorded: _Recorded) -> Latent | None:
    for name in sorted(names_in(model.parent)):
        with suppress(WeightsmithError):  # a neighbour that cannot be read is none
            if name != model.name and _other(model.parent / name, recorded) is None:
                return Latent(model.parent / name, _hashes(recorded))
    return None


def _other(folder: Path, recorded: _Recorded) -> str | None:
    """The first file that is missing or other than recorded; sizes first, since they cost nothing."""
    for file in recorded.files:
        if _size(folder / file.name) != file.nbytes:
            return file.name
    changed = (f for f in recorded.files if file_hash(folder / f.name, recorded.hash_name) != f.digest)
    return next((file.name for file in changed), None)


def _size(path: Path) -> int | None:
    """Of a regular file; None for anything else."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _hashes(recorded: _Recorded) -> dict[str, str]:
    return {file.name: f"{recorded.hash_name}:{file.digest}" for file in recorded.files}


def _found(folder: Path) -> dict[str, str]:
    """Hashes of a folder that nothing is recorded of: by file, of everything that can hold weights."""
    weights = [folder / name for name in listed(folder) if name.endswith(_WEIGHTS)]
    return {path.name: f"blake3:{file_hash(path)}" for path in weights if _size(path) is not None}
