"""What the parts of a conversion leave for each other, in a folder inside the output.

`plan.json`, made by whichever part comes first: all must do the same work. For each weights file that is finished a
note with its hash, and one for each source file that was read to its end. Every note appears whole, and says the same
whoever writes it: parts need no order, no coordinator and no clock, and one that dies may be run again anywhere.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import sample_hash, text_hash
from weightsmith.checkpoint.json_file import JsonLimits
from weightsmith.checkpoint.model_files import is_weights
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.unfinished import PARTS, PLAN
from weightsmith.convert.destination.destination import ANEW, NoDocumentError, document_in
from weightsmith.errors import TargetRefused
from weightsmith.version import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.destination.destination import Destination, FileState
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.stamps import Stamp
    from weightsmith.json_value import Json

_SHARD, _SOURCE = f"{PARTS}/shard-", f"{PARTS}/source-"
_PLAN = f"{PARTS}/{PLAN}"
_LIMITS = JsonLimits(16 << 20, 100_000)
# Notes that are read at the same time: those of a store take a request each.
_READERS = 8


@dataclass(frozen=True, slots=True)
class _Note:
    """A file that is whole. tag: see `FileState`. work: see `begin`."""

    file: str
    nbytes: int
    digest: str
    tag: str
    work: str


def is_begun(files: Collection[str]) -> bool:
    """Whether some part has begun to write, and no join has ended. files: what is in the destination."""
    return _PLAN in files


def begin(destination: Destination, work: str, stamps: Mapping[str, Stamp], root: Place) -> bool:
    """Makes it ready for parts of this work, or finds that another part has. Whether the source is its source.

    work: the digest of what decides the weights files. stamps: of the source's files. The answer is False where the
    source is not the same files as the first part's: a copy on another machine.

    Raises TargetRefused where the parts there do other work, or are made of other weights; OSError.
    """
    destination.begin()
    mine = {file: _mark(stamp, root) for file, stamp in stamps.items()}
    document = {"tool": "weightsmith", "version": __version__, "work": work, "source": mine}
    samples = (
        {file: sample_hash(root / file) for file in filter(is_weights, stamps)}
        if isinstance(root, Path)
        else {}
    )
    destination.claim(_PLAN, _line({**document, "samples": samples}))
    noted = need_same_work(destination, work)
    others = noted.get("samples")
    for file, sample in samples.items():
        if isinstance(others, dict) and others.get(file, sample) != sample:
            fact = f"was begun with other weights of the same shapes ({quoted(file)} is another one)"
            raise TargetRefused(destination.place, fact, f"give every part the same SRC, or {ANEW}")
    return noted.get("source") == mine


def need_same_work(destination: Destination, work: str) -> Mapping[str, Json]:
    """The plan that the first part noted. Raises TargetRefused where it is of other work, or cannot be read."""
    target = destination.place
    try:
        document = document_in(destination, _PLAN, _LIMITS)
    except NoDocumentError as error:
        raise TargetRefused(
            target, f"its parts left no plan that can be read ({error.fact})", ANEW
        ) from error
    if document.get("work") != work:
        version = document.get("version")
        other = f" by weightsmith {quoted(version)}" if version != __version__ else ""
        raise TargetRefused(
            target,
            f"holds parts of another conversion{other}: another source, other options, or another version",
            f"give every part the same SRC and options, or {ANEW}",
        )
    return document


def _mark(stamp: Stamp, root: Place) -> list[int]:
    """What is the same of one file on every machine that mounts it; of a remote file its state at its server."""
    return [stamp.nbytes, stamp.modified if isinstance(root, Path) else stamp.inode]


def note_shard(destination: Destination, work: str, file: str, state: FileState, digest: str) -> None:
    """`file` is in the destination, whole and on the disk. state: of it there. work: see `begin`."""
    note = {"file": file, "bytes": state.nbytes, "hash": digest, "work": work}
    destination.put(_shard_note(file), _line(note | ({"tag": state.tag} if state.tag else {})))


def forget_shard(destination: Destination, file: str) -> None:
    """The file is to be made again."""
    destination.remove([_shard_note(file)])


def note_source(destination: Destination, work: str, file: str, nbytes: int, digest: str) -> None:
    """A part has read all of a source file. Two that read other bytes leave two notes."""
    name = f"{_SOURCE}{text_hash(f'{work}/{file}/{digest}')[:32]}.json"
    destination.put(name, _line({"file": file, "bytes": nbytes, "hash": digest, "work": work}))


def finished_shards(destination: Destination, plan: OutputPlan, work: str) -> dict[str, str]:
    """Weights file -> the hash that its writer noted, of the files of the plan that are there as it left them.

    A store tells that by their tags, a file system by their sizes alone.
    """
    states = destination.files()
    there = {file: note for file in plan.files if file in states and (note := _shard_note(file)) in states}
    notes = dict(zip(there, _read(destination, work, list(there.values())), strict=True))
    return {
        file: note.digest
        for file, note in notes.items()
        if note is not None
        and note.nbytes == plan.files[file].nbytes == states[file].nbytes
        and note.tag == states[file].tag
    }


def known_sources(destination: Destination, work: str) -> dict[str, tuple[int, str]]:
    """Source file -> (bytes, hash), as the parts noted them. Raises TargetRefused where two say otherwise."""
    found: dict[str, tuple[int, str]] = {}
    names = sorted(name for name in destination.files() if name.startswith(_SOURCE))
    for note in _read(destination, work, names):
        if note is None:
            continue
        known = note.nbytes, note.digest
        if found.setdefault(note.file, known) != known:
            raise TargetRefused(
                destination.place,
                f"two parts read other bytes under the name {quoted(note.file)}",
                f"give every part the same source; {ANEW}",
            )
    return found


def _shard_note(file: str) -> str:
    return f"{_SHARD}{file}.json"


def _line(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _read(destination: Destination, work: str, names: Collection[str]) -> Iterator[_Note | None]:
    """In the order of the names. None where there is no note of this work that can be read: then it is done again.

    Raises TargetRefused where a store fails.

    Other work's are there where a store knows no exclusive creation, and two runs took the folder at the same moment.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        for note in pool.map(lambda name: _note(destination, name), names):
            yield note if note is not None and note.work == work else None


def _note(destination: Destination, name: str) -> _Note | None:
    try:
        document = document_in(destination, name, _LIMITS)
    except NoDocumentError:
        return None
    file, nbytes, digest = document.get("file"), document.get("bytes"), document.get("hash")
    if isinstance(file, str) and type(nbytes) is int and isinstance(digest, str):
        return _Note(file, nbytes, digest, str(document.get("tag", "")), str(document.get("work", "")))
    return None


def remove_notes(destination: Destination) -> None:
    """The last step of a join. The plan goes first: what is left of the notes then marks nothing."""
    names = [name for name in destination.files() if name.startswith(f"{PARTS}/")]
    if _PLAN in names:
        destination.remove([_PLAN])
    destination.remove([name for name in names if name != _PLAN])
    destination.end(PARTS)
