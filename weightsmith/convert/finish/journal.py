"""What a run has finished, written down as it finishes it, so that `--resume` need not do it again.

Nobody else can enter the folder, but somebody may have brought it: an archive, or a program of the same user. So a line
names, beside the shard's hash, what only the kernel writes: the number of its file, and when that was last changed. A
shard that was edited, copied, or put there with its journal has others. It costs one look at each shard, and its hash.
"""

from __future__ import annotations

import json
import os
from threading import Lock
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import new_hasher, opened_hash
from weightsmith.checkpoint.json_file import JsonFaultError, parse_object
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.small_file import open_own, read_small
from weightsmith.convert.stamps import stamp_of
from weightsmith.errors import TargetRefused, WeightsmithError
from weightsmith.process.durable import append, replace_file
from weightsmith.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weightsmith.checkpoint.file_bytes import ByteFile
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.json_value import Json

# A journal is a line for the work and one for each shard and each remote source; a longer one is none of ours.
_LONGEST, _MOST_LINES = 16 << 20, 100_000


def describe_work(
    plan: OutputPlan,
    orders: Sequence[object],
    source: Mapping[str, object],
) -> str:
    """A digest of all that decides the bytes of the weights files: a run goes on with what another one of it did.

    orders: converter, options and the like, as JSON can hold them. source: file -> how it is told that it is the same
    file. The tool's version is part of it: another one may compute otherwise.
    """
    hasher = new_hasher("sha256")
    known = [__version__, list(orders), dict(source), plan.finite]
    hasher.update(memoryview(json.dumps(known, sort_keys=True).encode()))
    for file, layout in plan.files.items():
        hasher.update(memoryview(file.encode() + layout.header))
    return hasher.hexdigest()


class Journal:
    """Appends to the journal of one folder. Each line is on the disk when its call returns."""

    def __init__(
        self,
        path: Path,
        work: str,
        plan: OutputPlan,
        done: Mapping[str, str],
        sources: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        """Begins the journal anew, whatever it held, with the files of the plan that are `done`, and their hashes.

        sources: what `known_sources` found.
        """
        self._path, self._lock = path, Lock()
        shards = [self._entry(file, plan.files[file].nbytes, found) for file, found in done.items()]
        read = [_of_source(file, *found) for file, found in (sources or {}).items()]
        replace_file(path, _lines([{"work": work}, *shards, *read]))

    def finished(self, file: str, nbytes: int, hexdigest: str) -> None:
        """`file` is whole and on the disk."""
        with self._lock:
            append(self._path, _lines([self._entry(file, nbytes, hexdigest)]))

    def source_read(self, file: str, nbytes: int, hexdigest: str) -> None:
        """All of a remote source's `file` was read, and hashed."""
        with self._lock:
            append(self._path, _lines([_of_source(file, nbytes, hexdigest)]))

    def _entry(self, file: str, nbytes: int, hexdigest: str) -> dict[str, object]:
        with open_own(self._path.parent / file) as shard:
            return {"file": file, "bytes": nbytes, "hash": hexdigest, "kernel": _kernels_word(shard)}


def _of_source(file: str, nbytes: int, hexdigest: str) -> dict[str, object]:
    return {"source": file, "bytes": nbytes, "hash": hexdigest}


def _lines(entries: Sequence[Mapping[str, object]]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def _kernels_word(shard: ByteFile) -> list[int]:
    stamp = stamp_of(os.fstat(shard.fd))
    return [stamp.inode, stamp.changed]


def work_of(path: Path) -> str | None:
    """The work that a journal was begun for; None when there is no such journal."""
    entries = _read(path, 1)
    work = entries[0].get("work") if entries else None
    return work if isinstance(work, str) else None


def verified(path: Path, plan: OutputPlan, hash_name: str, threads: int) -> dict[str, str]:
    """File -> hash of the plan's files beside the journal that are still what it says of them: each is read.

    Raises TargetRefused for one that has the hash of its line, and is not the file that we wrote.
    """
    found: dict[str, str] = {}
    for entry in _read(path, _MOST_LINES)[1:]:
        file, stated = entry.get("file"), entry.get("hash")
        if not isinstance(file, str) or not isinstance(stated, str) or file not in plan.files:
            continue
        if entry.get("bytes") == plan.files[file].nbytes and _is_as_stated(
            path.parent / file, entry, hash_name, threads
        ):
            found[file] = stated
    return found


def known_sources(
    path: Path, files: Mapping[str, int], done: Mapping[str, str]
) -> dict[str, tuple[int, str]]:
    """File of a remote source -> (bytes, hash), of those that the killed run had read to their end.

    files: of the source, with their bytes. done: what `verified` found. A line cannot be held against bytes that are
    far away: it is believed where every shard that the journal names, and at least one, is the file that we wrote.
    """
    entries = _read(path, _MOST_LINES)[1:]
    shards = {entry["file"] for entry in entries if isinstance(entry.get("file"), str)}
    if not shards or shards != done.keys():
        return {}
    found: dict[str, tuple[int, str]] = {}
    for entry in entries:
        file, nbytes, stated = entry.get("source"), entry.get("bytes"), entry.get("hash")
        if isinstance(file, str) and isinstance(stated, str) and nbytes == files.get(file, -1):
            found[file] = files[file], stated
    return found


def _is_as_stated(shard: Path, entry: Mapping[str, Json], hash_name: str, threads: int) -> bool:
    try:
        with open_own(shard) as file:
            same = file.size == entry["bytes"] and opened_hash(file, hash_name, threads) == entry["hash"]
            ours = entry.get("kernel") == _kernels_word(file)
    except WeightsmithError:
        return False
    if same and not ours:
        raise TargetRefused(
            shard.name,
            f"{quoted(shard.name)} was changed or copied since the killed run wrote it, and its journal with it",
            "it is thrown away; run again to make all of it anew",
        )
    return same


def _read(path: Path, most: int) -> list[dict[str, Json]]:
    """The first lines, as far as they are whole: a kill may have cut the last one."""
    try:
        lines = read_small(path, _LONGEST).split(b"\n", most)[:-1]
    except WeightsmithError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append(parse_object(line))
        except JsonFaultError:
            break
    return entries
