"""References computed once: files under the user's cache, found again by the hash of everything that decides them."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import file_hash, text_hash
from weightsmith.installed import versions
from weightsmith.process.durable import PARTIAL, place_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.verify.inputs.kinds import Variation
    from weightsmith.verify.reference.replay_job import Replayed

# One model's references take up to 1 GB (four files of 64 million entries): the last eight stay.
_LIMIT_BYTES = 8_000_000_000
_SUFFIX = ".safetensors"
_STALE_SECONDS = 86_400.0
# What computes a reference.
LIBRARIES = ("torch", "transformers")
# Our own part in the numbers: another text of it is another reference.
_CODE = ("worker.py", "controls.py", "layers.py")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose reference it is. weights, config: hashes by file. latent: the same of the latent source, or empty.

    The tokenizer is not in it: a reference replays token ids, and those are in the key.
    """

    weights: Mapping[str, str]
    config: Mapping[str, str]
    latent: Mapping[str, str]
    processor: str


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries `<subject>-<rest of key>-<hash of the file>.safetensors`; beyond `limit` bytes the least
    recently used ones go.

    Nothing here fails a verification: what cannot be read is computed, what cannot be written is not kept.
    """

    folder: Path
    limit: int = _LIMIT_BYTES

    def knows(self, whose: Subject) -> bool:
        """Whether there is anything of a subject, as far as the names say."""
        return bool(self._named(f"{_subject_hash(whose)}-*{_SUFFIX}"))

    def fetch(self, key: str, target: Path) -> bool:
        """Puts an entry's file at `target`; False when there is none. A damaged one is thrown away."""
        for entry in self._named(f"{key}-*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                target.parent.mkdir(parents=True, exist_ok=True)
                place_file(entry, target)
                if file_hash(target) == entry.stem.rpartition("-")[2]:
                    os.utime(entry)
                    return True
                entry.unlink()
            target.unlink(missing_ok=True)
        return False

    def keep(self, key: str, file: Path) -> str | None:
        """Takes a copy of a file under its key, whole or not at all. The reason in words where it could not."""
        try:
            if file.stat().st_size > self.limit:
                return f"{file.name} is larger than the whole cache may be"
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place_file(file, self.folder / f"{key}-{file_hash(file)}{_SUFFIX}")
            self._evict()
        except OSError as error:
            return f"{self.folder}: {error.strerror}"
        return None

    def _evict(self) -> None:
        """Oldest first until the rest fits; parts that a killed process left go too."""
        entries = sorted(
            ((e.stat(), e) for e in self._named(f"*{_SUFFIX}")), key=lambda pair: pair[0].st_mtime
        )
        total = sum(stat.st_size for stat, _ in entries)
        newest = entries[-1][0].st_mtime if entries else 0.0
        stale = [
            part for part in self._named(f".*{PARTIAL}") if part.stat().st_mtime < newest - _STALE_SECONDS
        ]
        for part in stale:
            part.unlink(missing_ok=True)
        for stat, entry in entries:
            if total <= self.limit:
                break
            entry.unlink(missing_ok=True)
            total -= stat.st_size

    def _named(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern)) if self.folder.is_dir() else []


def default(environment: Mapping[str, str] = os.environ) -> Cache | None:
    """The user's cache, by the XDG rule that a relative XDG_CACHE_HOME does not count; None without any home."""
    named = Path(environment.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return Cache(named / "weightsmith" / "references")
    try:
        return Cache(Path.home() / ".cache" / "weightsmith" / "references")
    except RuntimeError:
        return None


def subject(model: Path, weights: Mapping[str, str], latent: Mapping[str, str], processor: str) -> Subject:
    """weights, latent: hashes by file. What transformers reads beside the weights is hashed here."""
    beside = [model / "config.json", model / "adapter_config.json", *sorted(model.glob("*.index.json"))]
    config = {path.name: file_hash(path) for path in beside if path.is_file()}
    return Subject(dict(weights), config, dict(latent), processor)


def key(whose: Subject, variation: Variation, completions: Iterable[Replayed]) -> str:
    """A hash of all that decides the numbers: weights, config, token ids, variation, libraries, processor, our code."""
    here = Path(__file__).parent
    facts = {
        # Where the latent weights lie does not matter, their bytes do; and only to the control that runs on them.
        "variation": replace(variation, weights=None).to_json(),
        "latent": dict(whose.latent) if variation.weights else None,
        "completions": [one.to_json() for one in completions],
        "libraries": versions(LIBRARIES),
        "machine": platform.machine(),
        "code": [file_hash(here / name) for name in _CODE],
    }
    return f"{_subject_hash(whose)}-{_short_hash(facts)}"


def _subject_hash(whose: Subject) -> str:
    return _short_hash([dict(whose.weights), dict(whose.config), whose.processor])


def _short_hash(facts: object) -> str:
    """128 bits: two of them and the file's own hash make a name that every file system takes."""
    return text_hash(json.dumps(facts, sort_keys=True))[:32]
