"""The files beside the weights: which of them belong in the output, and which do not and why."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.file_bytes import unreadable
from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.checkpoint.model_files import belongs_to_model, is_weights
from weightsmith.checkpoint.small_file import is_own
from weightsmith.checkpoint.sub_folders import is_sub_file, is_sub_folder
from weightsmith.convert.plan.code_files import code_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.place import Place

ADAPTER_CONFIG = "adapter_config.json"
# An adapter's two files are of no use without each other, and engines would read its weights as the model's.
_ADAPTER = "of the adapter that lies beside the model: --converter lora merges it"
# Written anew, or about another folder than the output.
_OWN = frozenset({"config.json", "config.json.bak", MANIFEST})


_FOLDER = "a folder of no kind that is known: only files at the top are copied"


@dataclass(frozen=True, slots=True)
class SideFiles:
    """The files beside the weights.

    copied: names of regular files, or `folder/file`, to be opened as such when they are copied: see `copy_side_file`.
    left_out: name -> why it is not copied.
    strangers: how many files of other names lie beside a weights file that was named alone. They are nobody's business.
    """

    copied: tuple[str, ...]
    left_out: Mapping[str, str]
    strangers: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of those that nothing else tells."""
        if not self.strangers:
            return ()
        return (
            f"{self.strangers:,} files beside the weights are of no kind that a model has, and stay where they are",
        )


def find_side_files(source: Checkpoint, left_out: Mapping[str, str]) -> SideFiles:
    """Every regular file at the top of the source folder but weights, config and hidden ones; of known folders in it
    the files that belong there.

    Where a weights file or an index was named, and not its folder, only what a model's folder holds goes along, told
    by its name: the folder may be anybody's, with letters and keys in it.

    left_out: what the converter does not want copied, and why.

    A symlink is followed only within the folder or, in a hub cache, to the repository's own blobs: a downloaded
    folder must not be able to name other files of this machine. Raises MissingInput where the folder cannot be read.
    """
    copied: list[str] = []
    refused: dict[str, str] = {}
    strangers = 0
    alone = source.path != source.root
    code = code_files(source.root) if alone else frozenset()
    for entry in _entries(source.root):
        name = entry.name
        if name in source.files or name == source.index or name in _OWN or name.startswith("."):
            continue
        if is_sub_folder(name) and entry.is_folder and name not in left_out:
            for file, why_not in _inside(source.root / name, name):
                copied.append(file) if why_not is None else refused.update({file: why_not})
        elif alone and not (belongs_to_model(name) or name in code):
            strangers += 1
        elif name in left_out:
            refused[name] = left_out[name]
        elif name.startswith("adapter_") and (is_weights(name) or name == ADAPTER_CONFIG):
            refused[name] = _ADAPTER
        elif is_weights(name):
            refused[name] = "weights or training state that were not converted"
        else:
            why = entry.why_not()
            if why is None:
                copied.append(name)
            else:
                refused[name] = why
    return SideFiles(tuple(copied), refused, strangers)


@dataclass(frozen=True, slots=True)
class _Found:
    """A name in the folder. is_folder: it is one, and no link. why_not: why it is not copied; None where it is."""

    name: str
    is_folder: bool
    why_not: Callable[[], str | None]


def _entries(root: Place) -> Iterator[_Found]:
    """In the order of the names. Raises MissingInput."""
    if not isinstance(root, Path):
        folders = set(root.folders())
        for name in sorted(root.names()):
            yield _Found(name, name in folders, partial(_of_a_kind, name in folders))
        return
    try:
        with os.scandir(root) as found:
            for entry in sorted(found, key=attrgetter("name")):
                yield _Found(entry.name, entry.is_dir(follow_symlinks=False), partial(_why_not, entry, root))
    except OSError as error:
        raise unreadable(root, error) from error


def _of_a_kind(is_folder: bool) -> str | None:
    """Why a remote name is not copied: there are no links and devices there."""
    return _FOLDER if is_folder else None


def _inside(folder: Place, name: str) -> Iterator[tuple[str, str | None]]:
    """(`folder/file`, why it is not copied) of everything in a known folder of this name."""
    for entry in _entries(folder):
        file = f"{name}/{entry.name}"
        known = is_sub_file(file)
        yield file, entry.why_not() if known else "no file that a model has in this folder"


def _why_not(entry: os.DirEntry[str], root: Path) -> str | None:
    """Why a file is not copied; None where it is. Of what the listing calls a regular file nothing more is asked."""
    if entry.is_file(follow_symlinks=False):
        return None
    try:
        status = entry.stat()
    except OSError as error:
        return "a link that leads nowhere" if entry.is_symlink() else str(unreadable(entry.path, error).fact)
    if stat.S_ISDIR(status.st_mode):
        return _FOLDER
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if entry.is_symlink() and not is_own(os.path.realpath(entry.path), root):
        return "a link that leads out of the checkpoint's folder; put the file itself in its place"
    return None
