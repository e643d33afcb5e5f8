"""The folders in a model's folder that are known, and the files that belong in them; one level, and told by names."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# transformers (utils/hub.py, CHAT_TEMPLATE_DIR): the templates of a tokenizer or a processor beside its first one.
_FILES = {"additional_chat_templates": re.compile(r"[\w-][\w.-]*\.jinja")}


def is_sub_folder(name: str) -> bool:
    """Whether a model's folder may hold a folder of this name."""
    return name in _FILES


def is_sub_file(name: str) -> bool:
    """Whether `folder/file` is a file that such a folder may hold."""
    folder, _, file = name.partition("/")
    return folder in _FILES and _FILES[folder].fullmatch(file) is not None


def with_sub_files(folder: Path | int) -> Iterator[str]:
    """The names in a folder, in order; instead of a known folder in it, `folder/file` for all that is in that one.

    folder: a path, or a descriptor. A link is a name like any other. Raises OSError.
    """
    with os.scandir(folder) as found:
        entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    for name, is_folder in entries:
        inner = names_below(folder, name) if is_folder and is_sub_folder(name) else []
        yield from (f"{name}/{file}" for file in inner) if inner else (name,)


def names_below(folder: Path | int, name: str) -> list[str]:
    """What is in a folder of the folder, which is no link. Raises OSError."""
    above = (
        folder if isinstance(folder, int) else os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    )
    try:
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    finally:
        if not isinstance(folder, int):
            os.close(above)
    try:
        return sorted(os.listdir(inner))  # noqa: PTH208 - pathlib knows no descriptors
    finally:
        os.close(inner)
