"""Object stores (s3://, oss://) by fsspec, where it is installed: one listing of a folder, and ranges of its objects.

Keys, endpoints and profiles are those of the store's own library (s3fs, ossfs), from its variables and files.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.checkpoint.model_files import is_weights
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.remote.content import Content
from weightsmith.checkpoint.remote.repository import Entry, is_path_inside
from weightsmith.checkpoint.sub_folders import is_sub_folder
from weightsmith.checkpoint.unfinished import PARTS
from weightsmith.errors import CorruptCheckpoint, MissingInput, MissingPackage, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint.remote.address import Address
    from weightsmith.checkpoint.remote.content import Reach

_INSTALL = {"s3": "pip install 'weightsmith[remote]'", "oss": "pip install fsspec ossfs"}


@dataclass(frozen=True, slots=True)
class Objects:
    """A folder of a bucket. folder: its key, without slashes around it. named: the object in it that was named.
    store: the file system of fsspec."""

    address: Address
    folder: str
    named: str
    store: Any

    @classmethod
    def of(cls, address: Address) -> Objects:
        """What looks like weights or JSON is an object, else it is a folder. Raises MissingPackage."""
        try:
            import fsspec

            store = fsspec.filesystem(address.scheme)
        except (ImportError, ValueError) as error:
            fact = f"needs fsspec and its file system for {address.scheme}:// ({quoted(str(error))[1:-1]})"
            raise MissingPackage(address.text, fact, _INSTALL[address.scheme]) from error
        folder, _, name = address.inner.rpartition("/")
        is_file = bool(name) and (is_weights(name) or name.endswith(".json"))
        return cls(address, *((folder, name) if is_file else (address.inner, "")), store)

    @property
    def base(self) -> str:
        return f"{self.address.scheme}://{self._key('')}"

    def files(self) -> Mapping[str, Entry]:
        """The objects of the folder, and of those folders in it that a model has, or an unfinished conversion."""
        found = self._listed("")
        for name in [name for name, entry in found.items() if entry is None]:
            del found[name]
            if is_sub_folder(name) or name == PARTS:
                found |= {f"{name}/{file}": entry for file, entry in self._listed(name).items()}
        files = {name: entry for name, entry in found.items() if entry is not None}
        if not files:
            raise MissingInput(self.base, "holds no object", "check the bucket and the folder")
        return files

    def _listed(self, inside: str) -> dict[str, Entry | None]:
        """By name; None of a folder."""
        key = self._key(inside)
        with _told(self.base):
            self.store.invalidate_cache()  # ossfs heeds no `refresh`
            listing = self.store.ls(key, detail=True, refresh=True)
        found: dict[str, Entry | None] = {}
        for one in listing:
            name = str(one["name"]).removeprefix(f"{key}/").strip("/")
            if name == key or not is_path_inside(name) or "/" in name:
                continue
            found[name] = Entry(one["size"]) if one["type"] == "file" else None
        return found

    def asked_for(self) -> tuple[str, ...]:
        return ()

    def content(self, file: str, size: int | None, reach: Reach) -> ObjectContent:
        # ossfs 2025.5 hands both ends on to the store, for which the second is the last byte (core.py, `cat_file`).
        beyond = 0 if self.address.scheme == "oss" else 1
        subject = f"{self.base}/{file}"
        return ObjectContent(self.store, self._key(file), subject, size or 0, reach, beyond=beyond)

    def _key(self, file: str) -> str:
        return "/".join(part for part in (self.address.repository, self.folder, file) if part)


class ObjectContent(Content):
    """An object. That it stays the same is looked at once more when somebody asks for its `tag`."""

    def __init__(
        self, store: Any, key: str, subject: str, size: int, reach: Reach, *, beyond: int = 1
    ) -> None:
        """beyond: how many bytes behind the last one of a range its end is, for the file system."""
        super().__init__(size, reach)
        self._store, self._key, self._subject, self._beyond = store, key, subject, beyond

    @property
    def tag(self) -> str:
        with self._reach.noted(), _told(self._subject):
            return _tag(self._store.info(self._key, refresh=True))

    def _fetch(self, start: int, view: memoryview) -> int:
        with self._reach.noted():
            with _told(self._subject):
                end = start + len(view) - 1 + self._beyond
                data = self._store.cat_file(self._key, start=start, end=end)
            if len(data) != len(view):
                fact = (
                    f"changed while it was read: {len(data):,} bytes came where {len(view):,} were asked for"
                )
                raise CorruptCheckpoint(self._subject, fact, "let the upload finish, then try again")
        view[:] = data
        return len(view)


def _tag(described: Mapping[str, Any]) -> str:
    return str(described.get("ETag") or described.get("etag") or described.get("LastModified") or "").strip(
        '"'
    )


@contextmanager
def _told(subject: str) -> Iterator[None]:
    """Makes one line of what a store's library raises: each has a tree of errors of its own."""
    try:
        yield
    except WeightsmithError:
        raise
    except FileNotFoundError as error:
        raise MissingInput(subject, "no such bucket or object", "check the address") from error
    except PermissionError as error:
        way_out = "set the keys of the store as its library reads them"
        raise MissingInput(subject, f"may not be read ({_words(error)})", way_out) from error
    except Exception as error:
        raise MissingInput(
            subject, f"the store fails ({_words(error)})", "check its endpoint, keys and network"
        ) from error


def _words(error: Exception) -> str:
    return quoted(" ".join(str(error).split()) or type(error).__name__, 160)[1:-1]
