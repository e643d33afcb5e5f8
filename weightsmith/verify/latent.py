"""The latent weights that a fused model was made from, where they are still there: the best wrong twin it can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import read_json_object
from weightsmith.errors import InvalidConfig, MissingInput
from weightsmith.verify.hashing import file_hash

if TYPE_CHECKING:
    from pathlib import Path

# Written by `weightsmith convert`: names, sizes and hashes of what it read and wrote, and no paths.
_MANIFEST = "weightsmith.json"
# The converter whose source holds latent weights under the very names and shapes of its output.
_FUSES = "ternary"


@dataclass(frozen=True, slots=True)
class Latent:
    """folder: where the latent weights lie. hashes: by file, with the hash's name."""

    folder: Path
    hashes: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """name: of the hash. files: name, bytes, hash."""

    name: str
    files: tuple[tuple[str, int, str], ...]


def find_latent(model: Path, named: Path | None) -> Latent | None:
    """The latent source of a converted folder: the one that is `named`, else a folder beside it with the same bytes.

    The manifest of the conversion tells it by names, sizes and hashes; without a manifest the user's word is taken,
    since the gates say whether it is true. Raises MissingInput or InvalidConfig for a named folder that is none, or
    not what the model was made from.
    """
    recorded = _recorded(model / _MANIFEST)
    if named is None:
        return None if recorded is None else _beside(model.resolve(), recorded)
    if not named.is_dir():
        raise MissingInput(named, "is no folder", "name the folder of the latent weights")
    if recorded is None:
        return Latent(named.resolve(), _found(named))
    other = _other(named, recorded)
    if other is not None:
        fact = f"is not what {model} was converted from: {other} is not the file that {_MANIFEST} records"
        raise InvalidConfig(named, fact, "name the source of that conversion")
    return Latent(named.resolve(), _hashes(recorded))


def _recorded(path: Path) -> _Recorded | None:
    """What a manifest says of a latent source; None where there is no manifest, or it is no fusion's."""
    if not path.is_file():
        return None
    document = read_json_object(path)
    source, name = document.get("source"), document.get("hash")
    fuses = document.get("converter") == _FUSES and name in {"blake3", "sha256"}
    files = [_entry(row) for row in source] if fuses and isinstance(source, list) else [None]
    sound = tuple(entry for entry in files if entry is not None)
    if len(sound) < len(files):
        return None
    # The source's own config may be the one that the conversion corrected: it is not asked for.
    return _Recorded(str(name), tuple(entry for entry in sound if entry[0] != "config.json"))


def _entry(row: object) -> tuple[str, int, str] | None:
    """One file's record; None when it is none, or leads out of its folder."""
    if not isinstance(row, dict):
        return None
    file, size, stated = row.get("file"), row.get("bytes"), row.get("hash")
    if not (isinstance(file, str) and isinstance(size, int) and isinstance(stated, str)):
        return None
    return None if _leads_out(file) else (file, size, stated)


def _leads_out(name: str) -> bool:
    return name in {"", ".", ".."} or bool(set(name) & set("/\\\0"))


def _beside(model: Path, recorded: _Recorded) -> Latent | None:
    try:
        folders = sorted(model.parent.iterdir())
    except OSError:
        return None
    for folder in folders:
        if folder != model and folder.is_dir() and _other(folder, recorded) is None:
            return Latent(folder, _hashes(recorded))
    return None


def _other(folder: Path, recorded: _Recorded) -> str | None:
    """The first file that is missing or other than recorded; sizes first, since they cost nothing."""
    for file, size, _ in recorded.files:
        if not (folder / file).is_file() or (folder / file).stat().st_size != size:
            return file
    return next((f for f, _, h in recorded.files if file_hash(folder / f, recorded.name) != h), None)


def _hashes(recorded: _Recorded) -> dict[str, str]:
    return {file: f"{recorded.name}:{stated}" for file, _, stated in recorded.files}


def _found(folder: Path) -> dict[str, str]:
    """Hashes of a folder that nothing is recorded of: by file, of everything that can hold weights."""
    weights = sorted(p for p in folder.iterdir() if p.suffix in {".safetensors", ".bin", ".pt", ".pth"})
    return {path.name: f"blake3:{file_hash(path)}" for path in weights}
