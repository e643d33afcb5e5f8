"""The small JSON files beside the weights, and how they state special tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem, read_json_object
from weightsmith.checkpoint.small_file import is_there
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from weightsmith.checkpoint.place import Place
    from weightsmith.json_value import Json, JsonObject


def optional_json(path: Place) -> tuple[JsonObject, tuple[Problem, ...]]:
    """(a side file's object, why it could not be read). Both are empty where there is no such file.

    infer-config answers without it, so a fault of it is a problem and no error.
    """
    if not is_there(path):
        return {}, ()
    try:
        return read_json_object(path), ()
    except WeightsmithError as error:
        return {}, (side_file(path, error),)


def side_file(path: Place, error: WeightsmithError) -> Problem:
    """The problem of a side file that could not be read."""
    return Problem("side-file", f"{path.name} {error.fact}; {error.way_out}", file=path.name)


def stated_ids(stated: Json) -> set[int]:
    """The whole numbers of a setting such as `eos_token_id`, which is one id or a list; none where it is neither."""
    return {n for n in (stated if isinstance(stated, list) else [stated]) if type(n) is int}
