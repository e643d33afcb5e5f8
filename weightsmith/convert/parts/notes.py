"""What the parts of a conversion leave for each other, in a folder inside the output.

`plan.json`, made by whichever part comes first: all must do the same work. For each weights file that is finished a
note with its hash, and one for each source file that was read to its end. Every note appears whole, and says the same
whoever writes it: parts need no order, no coordinator and no clock, and one that dies may be run again anywhere.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from weightsmith.checkpoint.hashing import text_hash
from weightsmith.checkpoint.json_file import JsonLimits, read_json_object
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.unfinished import PARTS, PLAN
from weightsmith.errors import TargetRefused, WeightsmithError
from weightsmith.process.durable import claim_file, replace_file
from weightsmith.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.stamps import Stamp
    from weightsmith.json_value import Json

_SHARD, _SOURCE = "shard-", "source-"
_LIMITS = JsonLimits(16 << 20, 100_000)
_ANEW = "name another folder, or remove this one and begin anew"


class _Note(NamedTuple):
    """A file that is whole."""

    file: str
    nbytes: int
    digest: str


def notes_folder(target: Path) -> Path:
    return target / PARTS


def is_begun(target: Path) -> bool:
    """Whether some part has begun to write into `target`, and no join has ended."""
    return (notes_folder(target) / PLAN).is_file()


def begin(target: Path, work: str, stamps: Mapping[str, Stamp], root: Place) -> bool:
    """Makes `target` ready for parts of this work, or finds that another part has. Whether the source is its source.

    work: the digest of what decides the weights files. stamps: of the source's files. The answer is False where the
    source is not the same files as the first part's: a copy on another machine.

    Raises TargetRefused where the parts there do other work; OSError.
    """
    target.mkdir(mode=0o700, exist_ok=True)
    folder = notes_folder(target)
    folder.mkdir(mode=0o700, exist_ok=True)
    _need_own(folder, target)
    mine = {file: _mark(stamp, root) for file, stamp in stamps.items()}
    document = {"tool": "weightsmith", "version": __version__, "work": work, "source": mine}
    claim_file(folder / PLAN, json.dumps(document).encode() + b"\n")
    return need_same_work(target, work).get("source") == mine


def need_same_work(target: Path, work: str) -> Mapping[str, Json]:
    """The plan that the first part noted. Raises TargetRefused where it is of other work, or cannot be read."""
    try:
        document = read_json_object(notes_folder(target) / PLAN, _LIMITS)
    except WeightsmithError as error:
        raise TargetRefused(
            target, f"its parts left no plan that can be read ({error.fact})", _ANEW
        ) from error
    if document.get("work") != work:
        version = document.get("version")
        other = f" by weightsmith {quoted(version)}" if version != __version__ else ""
        raise TargetRefused(
            target,
            f"holds parts of another conversion{other}: another source, other options, or another version",
            f"give every part the same SRC and options, or {_ANEW}",
        )
    return document


def _need_own(folder: Path, target: Path) -> None:
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.geteuid():
        raise TargetRefused(target, f"its {folder.name} is not ours", _ANEW)


def _mark(stamp: Stamp, root: Place) -> list[int]:
    """What is the same of one file on every machine that mounts it; of a remote file its state at its server."""
    return [stamp.nbytes, stamp.modified if isinstance(root, Path) else stamp.inode]


def note_shard(target: Path, file: str, nbytes: int, digest: str) -> None:
    """`file` is in `target`, whole and on the disk."""
    _note(notes_folder(target) / _shard_note(file), file, nbytes, digest)


def forget_shard(target: Path, file: str) -> None:
    """The file is to be made again."""
    (notes_folder(target) / _shard_note(file)).unlink(missing_ok=True)


def note_source(target: Path, file: str, nbytes: int, digest: str) -> None:
    """A part has read all of a source file. Two that read other bytes leave two notes."""
    _note(notes_folder(target) / f"{_SOURCE}{text_hash(f'{file}/{digest}')[:32]}.json", file, nbytes, digest)


def finished_shards(target: Path, plan: OutputPlan) -> dict[str, str]:
    """Weights file -> the hash that its writer noted, of the files of the plan that are there in their size."""
    found: dict[str, str] = {}
    for file, layout in plan.files.items():
        note = _read(notes_folder(target) / _shard_note(file))
        if note is not None and note.nbytes == layout.nbytes == _size(target / file):
            found[file] = note.digest
    return found


def known_sources(target: Path) -> dict[str, tuple[int, str]]:
    """Source file -> (bytes, hash), as the parts noted them. Raises TargetRefused where two say otherwise."""
    found: dict[str, tuple[int, str]] = {}
    for path in sorted(notes_folder(target).glob(f"{_SOURCE}*.json")):
        note = _read(path)
        if note is None:
            continue
        known = note.nbytes, note.digest
        if found.setdefault(note.file, known) != known:
            raise TargetRefused(
                target,
                f"two parts read other bytes under the name {quoted(note.file)}",
                f"give every part the same source; {_ANEW}",
            )
    return found


def _shard_note(file: str) -> str:
    return f"{_SHARD}{file}.json"


def _note(path: Path, file: str, nbytes: int, digest: str) -> None:
    replace_file(path, json.dumps({"file": file, "bytes": nbytes, "hash": digest}).encode() + b"\n")


def _read(path: Path) -> _Note | None:
    """None where there is no note that can be read: then its work is done again."""
    try:
        document = read_json_object(path, _LIMITS)
    except WeightsmithError:
        return None
    file, nbytes, digest = document.get("file"), document.get("bytes"), document.get("hash")
    if isinstance(file, str) and type(nbytes) is int and isinstance(digest, str):
        return _Note(file, nbytes, digest)
    return None


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1


def remove_notes(target: Path) -> None:
    """The last step of a join. The plan goes first: what is left of the notes then marks nothing."""
    folder = notes_folder(target)
    if not folder.is_dir():
        return
    (folder / PLAN).unlink(missing_ok=True)
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    folder.rmdir()
