"""What a run has finished, written down as it finishes it, so that `--resume` need not do it again."""

from __future__ import annotations

import json
from threading import Lock
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import new_hasher
from weightsmith.convert.finish.digests import digest
from weightsmith.process.durable import append, replace_file
from weightsmith.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weightsmith.convert.plan.output_plan import OutputPlan

# A journal is a line for the work and one for each shard; a longer one is none of ours.
_LONGEST = 16 << 20


def describe_work(
    plan: OutputPlan,
    orders: Sequence[object],
    stamps: Mapping[str, tuple[int, ...]],
) -> str:
    """A digest of all that decides the bytes of the weights files.

    orders: converter, options and the like, as JSON can hold them. stamps: of the source's files. The tool's
    version is part of it: another one may compute otherwise.
    """
    hasher = new_hasher("sha256")
    known = [__version__, list(orders), {file: list(stamp) for file, stamp in stamps.items()}]
    hasher.update(memoryview(json.dumps(known, sort_keys=True).encode()))
    for file, layout in plan.files.items():
        hasher.update(memoryview(file.encode() + layout.header))
    return hasher.hexdigest()


class Journal:
    """Appends to the journal of one folder. Each line is on the disk when its call returns."""

    def __init__(self, path: Path, work: str, plan: OutputPlan, done: Mapping[str, str]) -> None:
        """Begins the journal anew, whatever it held, with the files of the plan that are `done`, and their hashes."""
        self._path, self._lock = path, Lock()
        shards = [_entry(file, plan.files[file].nbytes, found) for file, found in done.items()]
        replace_file(path, _lines([{"work": work}, *shards]))

    def finished(self, file: str, nbytes: int, hexdigest: str) -> None:
        """`file` is whole and on the disk."""
        with self._lock:
            append(self._path, _lines([_entry(file, nbytes, hexdigest)]))


def _lines(entries: Sequence[Mapping[str, object]]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def _entry(file: str, nbytes: int, hexdigest: str) -> dict[str, object]:
    return {"file": file, "bytes": nbytes, "hash": hexdigest}


def work_of(path: Path) -> str | None:
    """The work that a journal was begun for; None when there is no such journal."""
    entries = _read(path)
    work = entries[0].get("work") if entries else None
    return work if isinstance(work, str) else None


def verified(path: Path, plan: OutputPlan, hash_name: str, threads: int) -> dict[str, str]:
    """File -> hash of the plan's files beside the journal that are still what it says of them: each is read."""
    found: dict[str, str] = {}
    for entry in _read(path)[1:]:
        file, stated = entry.get("file"), entry.get("hash")
        if not isinstance(file, str) or not isinstance(stated, str) or file not in plan.files:
            continue
        shard = path.parent / file
        whole = shard.is_file() and shard.stat().st_size == plan.files[file].nbytes == entry.get("bytes")
        if whole and digest(shard, hash_name, threads) == stated:
            found[file] = stated
    return found


def _read(path: Path) -> list[dict[str, object]]:
    """The lines that are whole: a kill may have cut the last one."""
    try:
        with path.open("rb") as file:
            lines = file.read(_LONGEST).split(b"\n")[:-1]
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if isinstance(entry, dict):
            entries.append(entry)
    return entries
