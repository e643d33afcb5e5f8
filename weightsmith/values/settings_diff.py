"""How the settings beside two checkpoints differ: config, generation settings, tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import SIDE_FILE, read_json_object
from weightsmith.checkpoint.small_file import is_there
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.json_file import JsonLimits
    from weightsmith.checkpoint.place import Place
    from weightsmith.documents import SettingEntry
    from weightsmith.json_value import Json, JsonObject

_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
# What says who wrote the file, and nothing of the model.
_WRITERS = frozenset({"transformers_version", "_name_or_path", "_commit_hash"})
# A setting that one side does not have.
ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """One setting, by its name with dots: its values, ABSENT where a side has none."""

    file: str
    name: str
    a: Json
    b: Json

    def document(self) -> SettingEntry:
        """One entry of `settings` in the JSON of `diff`."""
        return {"file": self.file, "name": self.name, "a": self.a, "b": self.b}


def settings_diff(a: Checkpoint, b: Checkpoint) -> tuple[SettingDifference, ...]:
    """Of files that lie beside both and can be read; the words of `_WRITERS` do not count."""
    return tuple(found for file in _FILES for found in _of_file(file, a.root, b.root))


def _of_file(file: str, a: Place, b: Place) -> Iterator[SettingDifference]:
    left, right = read_settings(a / file), read_settings(b / file)
    if left is None or right is None:
        return
    for name in dict.fromkeys((*left, *right)):
        first, second = left.get(name, ABSENT), right.get(name, ABSENT)
        if first != second and name not in _WRITERS:
            yield SettingDifference(file, name, first, second)


def read_settings(path: Place, limits: JsonLimits = SIDE_FILE) -> dict[str, Json] | None:
    """The values of a JSON file by their names with dots; None where it is absent or cannot be read."""
    if not is_there(path):
        return None
    try:
        return dict(_flat(read_json_object(path, limits)))
    except WeightsmithError:  # a broken side file is no difference of the weights; other commands name it
        return None


def _flat(data: JsonObject, prefix: str = "") -> Iterator[tuple[str, Json]]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
