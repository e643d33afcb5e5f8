"""Code that travels with a checkpoint: its files, who names them, and what they can do. It is only read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from weightsmith.checkpoint.auto_map import mapped
from weightsmith.checkpoint.place import is_link
from weightsmith.checkpoint.small_file import names_in, read_small
from weightsmith.errors import WeightsmithError
from weightsmith.values.beside.dangers import kind_of
from weightsmith.values.beside.python_uses import as_read, uses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.documents import CallEntry, CodeEntry

# Real modeling files are 20 to 200 kB, and one of 200 kB has 30,000 words.
_LARGEST_FILE = 1 << 19
_LARGEST_FOLDER = 1 << 20
_MOST_WORDS = 100_000
# Real folders have a handful of files, and name a handful of things in each.
_MOST_FILES = 100
_MOST_CALLS = 500
# transformers runs `custom_generate/generate.py` of a folder.
_SUB_FOLDER = "custom_generate"


@dataclass(frozen=True, slots=True)
class Call:
    """`file` uses `name`, first on `line`, at so many places. kind: what that does, in words."""

    file: str
    line: int
    name: str
    kind: str
    times: int

    def document(self) -> CallEntry:
        """One entry of `calls` in the JSON of `inspect`."""
        return {
            "file": self.file,
            "line": self.line,
            "name": self.name,
            "kind": self.kind,
            "times": self.times,
        }


@dataclass(frozen=True, slots=True)
class Code:
    """files: the Python files. auto_map: `config.json: AutoModel` -> `module.Class`. unread: file -> why."""

    files: tuple[str, ...]
    auto_map: Mapping[str, str]
    calls: tuple[Call, ...]
    unread: Mapping[str, str]

    def document(self) -> CodeEntry:
        """The `code` of the JSON of `inspect`."""
        return {
            "files": self.files,
            "auto_map": self.auto_map,
            "calls": [call.document() for call in self.calls],
            "unread": self.unread,
        }


NO_CODE = Code((), {}, (), {})


def code_in(root: Place) -> Code:
    """What the configs of the folder name, and what the text of its Python files uses."""
    files = _python_in(root)
    if not is_link(root / _SUB_FOLDER):  # a link could lead to somebody's own files
        files += (f"{_SUB_FOLDER}/{name}" for name in _python_in(root / _SUB_FOLDER))
    auto_map: dict[str, str] = {}
    for one in mapped(root):
        place = f"{one.file}: {one.name}"
        auto_map[place] = f"{auto_map[place]}, {one.target}" if place in auto_map else one.target
    calls: list[Call] = []
    unread = dict.fromkeys(files[_MOST_FILES:], f"more than {_MOST_FILES} files")
    left, budget = _LARGEST_FOLDER, iter(range(_MOST_WORDS))
    for name in files[:_MOST_FILES]:
        try:
            text = read_small(root / name, min(left, _LARGEST_FILE)).decode("utf-8", "replace")
        except WeightsmithError as error:
            unread[name] = error.fact
            continue
        left -= len(text)
        calls += islice(_calls(name, as_read(text), budget), _MOST_CALLS + 1)
        if next(budget, None) is None:
            unread[name] = "too much code: not read to its end"
    kept = calls[:_MOST_CALLS]
    unread |= {call.file: "names more than can be listed" for call in calls[_MOST_CALLS:]}
    return Code(tuple(files), auto_map, tuple(kept), unread)


def _python_in(folder: Place) -> list[str]:
    return sorted(name for name in names_in(folder) if name.endswith(".py"))


def _calls(file: str, code: str, budget: Iterator[int]) -> Iterator[Call]:
    """One entry for each name, in the order of the code."""
    found: dict[str, list[int]] = {}
    for use in uses(code, budget):
        found.setdefault(use.name, []).append(use.at)
    for name, places in found.items():
        kind = kind_of(name)
        if kind is not None:
            yield Call(file, code.count("\n", 0, places[0]) + 1, name, kind, len(places))
