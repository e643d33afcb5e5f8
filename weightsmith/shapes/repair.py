"""Finds a checkpoint's config file and writes the corrected one.

Contradicted values are replaced in its text, every other byte stays.
"""

from __future__ import annotations

import itertools
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsmith.checkpoint import Problem, config_above, config_path
from weightsmith.checkpoint.json_file import CONFIG_FILE, SIDE_FILE, read_json_text
from weightsmith.checkpoint.place import local_folder
from weightsmith.checkpoint.small_file import is_there, read_small
from weightsmith.errors import TargetRefused
from weightsmith.shapes.field_reports import edits, removed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.place import Place
    from weightsmith.shapes.inference import Inference

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config as read: its values and the text that they stand in."""

    path: Place
    data: Mapping[str, Any]
    text: str


def find_config(checkpoint: Checkpoint, named: Path | None = None) -> ConfigFile | None:
    """The named config file, else the checkpoint's own, see `config_path`; None when it has none.

    Raises InvalidConfig for one that is not a JSON object and MissingInput for a named one that is absent.
    """
    if named is None and checkpoint.config is not None:
        data = dict(checkpoint.config)
        return ConfigFile(checkpoint.path, data, fresh_text(data))
    path = named or config_path(checkpoint)
    if path is None:
        return None
    return ConfigFile(path, *read_json_text(path, CONFIG_FILE, named=named is not None))


def found_above(checkpoint: Checkpoint, config: ConfigFile | None) -> tuple[Problem, ...]:
    """Says that the config is not in the checkpoint's own folder."""
    if config is None or config.path != config_above(checkpoint):
        return ()
    return (Problem("config-above", f"the config is that of the folder above: {config.path}"),)


def write_config(
    checkpoint: Checkpoint, config: ConfigFile | None, inference: Inference, output: Path | None = None
) -> str:
    """Writes the corrected config to `output`, else over the checkpoint's config.json; returns what was done."""
    if config is None or inference.restructured:
        text = fresh_text(dict(inference.config))
    else:
        changes = edits(config.data, inference.fields, inference.user_set)
        text = corrected_text(config.text, changes, removed(inference.fields))
    target = output or local_folder(checkpoint.root, "--write (the library's `write`)") / "config.json"
    if output is None and config is not None and config.path == target and text == config.text:
        return f"{target}: already right, left untouched"
    if output is not None:
        from weightsmith.process.targets import need_other, write_output  # only who writes pays for it

        root = checkpoint.root
        need_other(output, (root / file for file in checkpoint.files) if isinstance(root, Path) else ())
        write_output(output, text.encode())
        return f"{output}: written"
    backup = replace_config(target, text)
    return f"{target}: written" + (f"; the old one is {backup.name}" if backup else "")


def lines_of(config: ConfigFile, names: Iterable[str]) -> dict[str, int]:
    """The lines, from 1, of those settings (dotted names) that the file states."""
    found = {}
    for name in names:
        start = _begin_of(config.text, name.split("."))
        if start is not None:
            found[name] = config.text.count("\n", 0, start) + 1
    return found


def _begin_of(text: str, path: list[str]) -> int | None:
    """Where the key at the end of a path of keys stands; None where there is none."""
    begin, found = _skip_space(text, 0), None
    for key in path:
        entries = _entries(text, begin) if text[begin] == "{" else []
        found = next((entry for entry in entries if entry.key == key), None)
        if found is None:
            return None
        begin = found.begin
    return None if found is None else found.start


def corrected_text(original: str, changes: Iterable[tuple[str, Any]], without: Iterable[str] = ()) -> str:
    """`original` JSON with the value of each (dotted name, new value) replaced, or added to its object.

    without: dotted names that are taken out.
    """
    for name, value in changes:
        original = _with_value(original, name.split("."), value)
    for name in without:
        original = _without(original, name.split("."))
    return original


def fresh_text(config: dict[str, Any]) -> str:
    """A new config file, laid out as transformers lays it out."""
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _with_value(text: str, path: list[str], value: Any) -> str:
    start, depth = _skip_space(text, 0), 0
    for level, key in enumerate(path):
        entries = _entries(text, start)
        depth += 1
        found = next((entry for entry in entries if entry.key == key), None)
        if found and level == len(path) - 1:
            return text[: found.begin] + _dump(value, depth) + text[found.end :]
        if found and text[found.begin] == "{":
            start = found.begin
            continue
        for missing in reversed(path[level + 1 :]):
            value = {missing: value}
        if found:  # what stands there is no object
            return text[: found.begin] + _dump(value, depth) + text[found.end :]
        return _insert(text, start, entries, key, _dump(value, depth), depth)
    return text


def _without(text: str, path: list[str]) -> str:
    """Takes an entry out of its object, with the comma that parts it from its neighbour."""
    start = _skip_space(text, 0)
    for level, key in enumerate(path):
        entries = _entries(text, start)
        place = next((n for n, entry in enumerate(entries) if entry.key == key), None)
        if place is None:
            return text
        if level < len(path) - 1:
            start = entries[place].begin
    if place:
        return text[: entries[place - 1].end] + text[entries[place].end :]
    following = entries[1].start if len(entries) > 1 else entries[0].end
    return text[: entries[0].start] + text[following:]


def _insert(text: str, start: int, entries: Sequence[_Entry], key: str, value: str, depth: int) -> str:
    """Adds `"key": value` as the last entry of the object that begins at `start`."""
    entry = f"{json.dumps(key, ensure_ascii=False)}: {value}"
    if not entries:
        return text[: start + 1] + entry + text[start + 1 :]
    end = entries[-1].end
    newline = "\n" + "  " * depth if "\n" in text[start:end] else " "
    return f"{text[:end]},{newline}{entry}{text[end:]}"


def _dump(value: Any, depth: int) -> str:
    lines = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    return ("\n" + "  " * depth).join(lines)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key of an object, where it stands (`start`), and where its value begins and ends."""

    key: str
    start: int
    begin: int
    end: int


def _entries(text: str, start: int) -> list[_Entry]:
    """The entries of the object whose brace is at `start`. The text is known to be JSON without duplicate keys."""
    decoder = json.JSONDecoder()
    entries = []
    position = _skip_space(text, start + 1)
    while text[position] != "}":
        key, after = decoder.raw_decode(text, position)
        begin = _skip_space(text, _skip_space(text, after) + 1)
        _, end = decoder.raw_decode(text, begin)
        entries.append(_Entry(key, position, begin, end))
        position = _skip_space(text, end)
        if text[position] == ",":
            position = _skip_space(text, position + 1)
    return entries


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def replace_config(path: Path, text: str) -> Path | None:
    """Puts `text` in place of the file at once; returns where the old one was kept, None when there was none.

    A link at `path`, as a download cache has it, is replaced by a file; what it leads to stays.
    The first backup is the one worth having, so an existing `.bak` is never overwritten; later ones are
    numbered. Raises TargetRefused when the folder cannot be written, and what reading the old file raises.
    """
    from weightsmith.process.durable import replace_file  # only who writes pays for it

    old = read_small(path, SIDE_FILE.bytes) if is_there(path) else None
    try:
        backup = None if old is None else _keep_old(path, old)
        replace_file(path, text.encode())
    except OSError as error:
        raise _refused(path, error) from error
    return backup


def _refused(path: Path, error: OSError) -> TargetRefused:
    return TargetRefused(path, f"cannot be written ({error.strerror})", "name another file with --output")


def _keep_old(path: Path, old: bytes) -> Path:
    """Writes the old bytes to the first free of `.bak`, `.bak.1`, …; it exists whole before anything changes."""
    from weightsmith.process.durable import create_file

    for number in itertools.count():
        backup = Path(f"{path}.bak" if number == 0 else f"{path}.bak.{number}")
        with suppress(FileExistsError):
            create_file(backup, old)
            return backup
    raise AssertionError("there is always a next number")
