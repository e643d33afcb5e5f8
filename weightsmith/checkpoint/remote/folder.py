"""A remote folder: which files it has, and the bytes of each, asked for when they are needed and not before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

from weightsmith.checkpoint.remote.content import Reach, is_absence
from weightsmith.checkpoint.remote.repository import Entry
from weightsmith.errors import MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint.remote.content import Content
    from weightsmith.checkpoint.remote.repository import Repository

# Requests that wait for the network at the same time. Hubs answer more with 429.
THREADS = 8


class RemoteFolder:
    """The files of one repository at one state; shared by all paths into it, and safe for several threads."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._files: Mapping[str, Entry] | None = None
        self._asked = False
        self.reach = Reach()
        self._contents: dict[str, Content] = {}
        self._absent: set[str] = set()
        self._listing, self._keeping = Lock(), Lock()

    @property
    def is_listed(self) -> bool:
        """Whether somebody lists its files. Asks, the first time. Raises what the hub's refusal makes."""
        return self._listed() is not None

    def find(self, file: str) -> Entry | None:
        """A file; None where there is none. Raises MissingInput where nobody can say."""
        files = self._listed()
        if files is not None:
            return files.get(file)
        return Entry(None) if self._answers(file) else None

    def below(self, folder: str) -> list[str]:
        """Paths of all files in a folder of it; of what nobody lists, those that answer to the usual names."""
        files = self._listed()
        if files is None:
            names = self.repository.asked_for() if not folder else ()
            self.prefetch(names)
            return [name for name in names if self._answers(name)]
        inside = f"{folder}/" if folder else ""
        return [name for name in files if name.startswith(inside)]

    def content(self, file: str) -> Content:
        """The bytes of a file that is there."""
        with self._keeping:
            found = self._contents.get(file)
            if found is None:
                entry = (self._files or {}).get(file)
                found = self.repository.content(file, entry.size if entry else None, self.reach)
                self._contents[file] = found
            return found

    def prefetch(self, files: Iterable[str]) -> None:
        """Reads the beginnings of many files side by side. What cannot be read is told when it is opened."""
        listed = self._listed()
        wanted = [file for file in files if listed is None or (file in listed and listed[file].local is None)]
        if len(wanted) < 2:
            return
        with ThreadPoolExecutor(min(THREADS, len(wanted))) as pool:
            list(pool.map(self._prefetch, wanted))

    def _prefetch(self, file: str) -> None:
        try:
            if self.find(file) is not None:
                self.content(file).need_head()
        except WeightsmithError:
            pass

    def _listed(self) -> Mapping[str, Entry] | None:
        if not self._asked:
            with self._listing:
                if not self._asked:
                    with self.reach.noted():
                        self._files = self.repository.files()
                    self.reach.listed = self._files is not None
                    self._asked = True
        return self._files

    def _answers(self, file: str) -> bool:
        """Whether the server has such a file: its beginning comes along."""
        if file in self._absent:
            return False
        try:
            self.content(file).need_head()
        except MissingInput as error:
            if not is_absence(error):
                raise
            self._absent.add(file)
            return False
        return True
