"""The small JSON files beside the weights, and how they state special tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import Json, JsonObject


def optional_json(path: Path) -> JsonObject:
    """A side file that may be absent or broken, and is then empty: infer-config does not fail for it."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def stated_ids(stated: Json) -> set[int]:
    """The whole numbers of a setting such as `eos_token_id`, which is one id or a list; none where it is neither."""
    return {n for n in (stated if isinstance(stated, list) else [stated]) if type(n) is int}
