"""A path that lies elsewhere: what stands where a local `pathlib.Path` could stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.file_bytes import ByteFile
from weightsmith.checkpoint.remote.address import parse_address
from weightsmith.checkpoint.remote.file import RemoteFile
from weightsmith.checkpoint.remote.folder import RemoteFolder
from weightsmith.checkpoint.remote.hugging_face import HuggingFace, cached_snapshot, repository_cache
from weightsmith.checkpoint.remote.modelscope import ModelScope, cached_model
from weightsmith.checkpoint.remote.objects import Objects
from weightsmith.checkpoint.remote.settings import is_offline, modelscope_cache, timeout
from weightsmith.checkpoint.remote.transport import Patience, Transport
from weightsmith.checkpoint.remote.web import Web
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint.remote.address import Address
    from weightsmith.checkpoint.remote.repository import Entry, Repository


# Kind -> what finds a repository in the cache of its hub's own library.
_CACHED: dict[str, Callable[[Address], Path | None]] = {"hf": cached_snapshot, "modelscope": cached_model}


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A file or a folder of a remote folder. It has what is used of a `Path`; making one asks nobody.

    text: the address, as errors and results have it. inner: the path in `home`, without slashes around it.
    """

    text: str
    home: RemoteFolder = field(repr=False, compare=False)
    inner: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> RemotePath | Path:
        """As of a `Path`: an absolute path of this machine stands for itself."""
        return Path(name) if name.startswith("/") else self.below(name)

    def below(self, name: str) -> RemotePath:
        """What lies in the folder under this name."""
        inner = f"{self.inner}/{name}" if self.inner else name
        return RemotePath(f"{self.home.repository.base}/{inner}", self.home, inner)

    @property
    def name(self) -> str:
        """Of a folder that is a whole repository, that of the repository."""
        return (self.inner or self.home.repository.base).rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The folder that it lies in; of the outermost folder itself."""
        if not self.inner:
            return self
        inner = self.inner.rpartition("/")[0]
        base = self.home.repository.base
        return RemotePath(f"{base}/{inner}" if inner else base, self.home, inner)

    def resolve(self) -> RemotePath:
        """No link leads anywhere here."""
        return self

    def entry(self) -> Entry | None:
        """The file of this path; None where it is none."""
        return self.home.find(self.inner) if self.inner else None

    def is_file(self) -> bool:
        return self.entry() is not None

    def is_folder(self) -> bool:
        """Raises MissingInput where nothing has this path."""
        if not self.inner:
            return True
        if self.is_file():
            return False
        if self.home.is_listed and self.home.below(self.inner):
            return True
        raise self._not_there()

    def names(self) -> list[str]:
        """The names in the folder, of files and folders. Raises MissingInput where nobody can say."""
        skipped = len(self.inner) + 1 if self.inner else 0
        return list(dict.fromkeys(file[skipped:].partition("/")[0] for file in self.home.below(self.inner)))

    def folders(self) -> list[str]:
        """The names of the folders in it, in order."""
        skipped = len(self.inner) + 1 if self.inner else 0
        inside = (file[skipped:].partition("/") for file in self.home.below(self.inner))
        return sorted({name for name, slash, _ in inside if slash})

    def files_in(self, enter: Callable[[str], bool]) -> list[str]:
        """The names in the folder, in order; `folder/file` for all files of a folder that `enter` says yes to."""
        found: list[str] = []
        for name in sorted(self.names()):
            inner = self.below(name).names() if enter(name) and name in self.folders() else []
            found += sorted(f"{name}/{file}" for file in inner) if inner else [name]
        return found

    def size(self) -> int:
        """Bytes of the file; 0 where there is none. Raises what `Content.size` raises."""
        entry = self.entry()
        if entry is None:
            return 0
        return self.home.content(self.inner).size if entry.size is None else entry.size

    def state(self) -> tuple[int, str]:
        """(bytes, what the hub or the server calls these bytes); the same later for the same bytes."""
        entry = self.entry()
        if entry is None:
            raise self._not_there()
        content = self.home.content(self.inner)
        return self.size(), f"{self.text} {entry.digest or content.tag}"

    def opened(self, name: str) -> ByteFile:
        """Raises MissingInput where it is no file, and what `Content.size` raises."""
        entry = self.entry()
        if entry is None:
            raise self._not_there()
        if entry.local is not None:
            file = ByteFile(entry.local, name)
            file.subject = self.text
            return file
        return RemoteFile(self.home.content(self.inner), name, self.text, entry.digest)

    def _not_there(self) -> MissingInput:
        listed = self.home.is_listed
        what = "no such file or folder in the repository" if listed else "no such file on the server"
        return MissingInput(self.text, what, "check the path and the revision")


def remote_place(text: str) -> RemotePath | Path:
    """What an address names. Asks nobody; a hub's repository is offline the folder in its cache.

    Raises MissingInput for what is no address, and, offline, for what is not in a cache; Usage for a wrong setting.
    """
    address = parse_address(text)
    if address.kind in _CACHED and is_offline():
        return _cached(address)
    repository, inner = _repository(address)
    return RemotePath(address.text, RemoteFolder(repository), inner)


def _repository(address: Address) -> tuple[Repository, str]:
    """(the folder that it lies in, the path in that one)."""
    if address.kind == "objects":
        objects = Objects.of(address)
        return objects, objects.named
    given = timeout()
    transport = Transport(Patience() if given is None else Patience(timeout=given))
    if address.kind == "web":
        web = Web.of(address, transport)
        return web, web.named
    hub = ModelScope if address.kind == "modelscope" else HuggingFace
    return hub.of(address, transport), address.inner


def _cached(address: Address) -> Path:
    where = repository_cache(address) if address.kind == "hf" else modelscope_cache()
    found = _CACHED[address.kind](address)
    if found is None:
        fact = f"the hub may not be asked (HF_HUB_OFFLINE); the cache has no such revision in {where}"
        raise MissingInput(address.text, fact, "unset HF_HUB_OFFLINE, or name a local copy")
    return found / address.inner if address.inner else found
