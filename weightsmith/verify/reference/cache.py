"""References computed once: files under the user's cache, found again by the hash of everything that decides them."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith import schemes
from weightsmith.checkpoint.hashing import bytes_hash, file_hash, opened_hash, text_hash
from weightsmith.checkpoint.json_file import SIDE_FILE
from weightsmith.checkpoint.small_file import is_there, names_in, open_own, read_small
from weightsmith.errors import WeightsmithError
from weightsmith.installed import versions
from weightsmith.process.durable import PARTIAL, place_file, through_descriptor
from weightsmith.process.user_cache import user_cache
from weightsmith.schemes.stated import descriptions
from weightsmith.values import plain_blocks
from weightsmith.verify.inputs import activations, pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from weightsmith.verify.inputs.kinds import Variation
    from weightsmith.verify.reference.replay_job import Replayed

# One model's references take up to 1 GB (four files of 64 million entries): the last eight stay.
_LIMIT_BYTES = 8_000_000_000
_SUFFIX = ".safetensors"
_STALE_SECONDS = 86_400.0
_UNTRUSTED = "not used: it must be a folder of this user, no link, that nobody else may write to"
# What computes a reference.
LIBRARIES = ("torch", "transformers")
# What draws pictures and makes pixels of them.
_OF_PICTURES = ("pillow", "torchvision")
# Our own part in the numbers: another text of it is another reference. The last are what makes packed weights plain.
_ROOMS = (Path(__file__).parent, Path(schemes.__file__).parent)
_CODE = (
    *(file for room in _ROOMS for file in sorted(room.glob("*.py"))),
    Path(activations.__file__),
    Path(pictures.__file__),
    Path(plain_blocks.__file__),
)


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

    Nothing here fails a verification: what cannot be read is computed, what cannot be written is not kept. A folder
    that is a link, another user's, or open to others' writing is not used, since its entries could be anybody's.
    """

    folder: Path
    limit: int = _LIMIT_BYTES

    def knows(self, whose: Subject) -> bool:
        """Whether there is anything of a subject, as far as the names say."""
        with self._trusted() as folder:
            return folder is not None and bool(_named(folder, _subject_hash(whose)))

    def fetch(self, key: str, target: Path, usable: Callable[[Path], bool] = lambda path: True) -> bool:
        """Puts an entry's file at `target`; False when there is none. One that is damaged or no entry is thrown away.

        usable: whether a file that has the right hash is what is asked for; it may have come from anywhere.
        """
        with self._trusted() as folder, contextlib.suppress(OSError):
            if folder is None:
                return False
            for name in _named(folder, key):
                target.parent.mkdir(parents=True, exist_ok=True)
                if self._take(folder / name, target) and usable(target):
                    os.utime(folder / name, follow_symlinks=False)
                    return True
                target.unlink(missing_ok=True)
                (folder / name).unlink()
        return False

    def keep(self, key: str, file: Path) -> str | None:
        """Takes a copy of a file under its key, whole or not at all. The reason in words where it could not."""
        try:
            with open_own(file) as opened:
                if opened.size > self.limit:
                    return f"{file.name} is larger than the whole cache may be"
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                with self._trusted() as folder:
                    if folder is None:
                        return f"{self.folder}: {_UNTRUSTED}"
                    place_file(opened.fd, folder / f"{key}-{opened_hash(opened)}{_SUFFIX}")
                    self._evict(folder)
        except OSError as error:
            return f"{self.folder}: {error.strerror}"
        return None

    def _take(self, entry: Path, target: Path) -> bool:
        """Puts an entry at `target` where it is a file of this user alone with the hash that its name says."""
        try:
            with open_own(entry) as file:
                status = os.fstat(file.fd)
                ours = status.st_uid == os.geteuid() and not status.st_mode & 0o022
                # What is larger was never kept, and may be a hole of terabytes.
                kept = ours and file.size <= self.limit
                if not kept or opened_hash(file) != entry.stem.rpartition("-")[2]:
                    return False
                place_file(file.fd, target)
                return True
        except WeightsmithError:
            return False

    def _evict(self, folder: Path) -> None:
        """Oldest first until the rest fits; parts that a killed process left go too, and whatever is no file."""
        entries: list[tuple[os.stat_result, str]] = []
        for name in _named(folder):
            status = os.lstat(folder / name)
            if stat.S_ISREG(status.st_mode):
                entries.append((status, name))
            else:
                with contextlib.suppress(OSError):  # a folder is left where it is
                    (folder / name).unlink()
        entries.sort(key=lambda pair: pair[0].st_mtime)
        total = sum(status.st_size for status, _ in entries)
        newest = entries[-1][0].st_mtime if entries else 0.0
        for part in folder.glob(f".*{PARTIAL}"):
            if part.lstat().st_mtime < newest - _STALE_SECONDS:
                part.unlink(missing_ok=True)
        for status, name in entries:
            if total <= self.limit:
                break
            (folder / name).unlink(missing_ok=True)
            total -= status.st_size

    @contextlib.contextmanager
    def _trusted(self) -> Iterator[Path | None]:
        """The folder, held open; None where there is none that this user alone may write to."""
        try:
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        try:
            status = os.fstat(descriptor)
            private = status.st_uid == os.geteuid() and not status.st_mode & 0o022
            yield through_descriptor(descriptor, self.folder) if private else None
        finally:
            os.close(descriptor)


def _named(folder: Path, key: str = "") -> list[str]:
    """The names of entries whose key begins so."""
    start = f"{key}-" if key else ""
    names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
    return sorted(name for name in names if name.startswith(start) and name.endswith(_SUFFIX))


def default(environment: Mapping[str, str] = os.environ) -> Cache | None:
    """In the user's cache; None without any home."""
    folder = user_cache(environment)
    return None if folder is None else Cache(folder / "references")


def subject(model: Path, weights: Mapping[str, str], latent: Mapping[str, str], processor: str) -> Subject:
    """weights, latent: hashes by file. What transformers reads beside the weights is hashed here."""
    stated = [model / name for name in descriptions(names_in(model))]
    beside = [
        model / "config.json",
        model / "adapter_config.json",
        # What becomes of a picture before the model sees it.
        model / "processor_config.json",
        model / "preprocessor_config.json",
        *sorted(model.glob("*.index.json")),
        *stated,
    ]
    config = {path.name: bytes_hash(read_small(path, SIDE_FILE.bytes)) for path in beside if is_there(path)}
    return Subject(dict(weights), config, dict(latent), processor)


def key(whose: Subject, variation: Variation, completions: Iterable[Replayed]) -> str:
    """A hash of all that decides the numbers: weights, config, token ids, variation, libraries, processor, our code."""
    facts = {
        # Where the latent weights lie does not matter, their bytes do; and only to the control that runs on them.
        "variation": replace(variation, weights=None).to_json(),
        "latent": dict(whose.latent) if variation.weights else None,
        "completions": [one.to_json() for one in completions],
        "libraries": versions((*LIBRARIES, *_OF_PICTURES)),
        "machine": platform.machine(),
        "code": [file_hash(file) for file in _CODE],
    }
    return f"{_subject_hash(whose)}-{_short_hash(facts)}"


def _subject_hash(whose: Subject) -> str:
    return _short_hash([dict(whose.weights), dict(whose.config), whose.processor])


def _short_hash(facts: object) -> str:
    """128 bits: two of them and the file's own hash make a name that every file system takes."""
    return text_hash(json.dumps(facts, sort_keys=True))[:32]
