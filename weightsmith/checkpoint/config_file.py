"""The config.json beside a checkpoint's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import read_json_object
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Checkpoint
    from weightsmith.json_value import Json


def config_beside(checkpoint: Checkpoint) -> dict[str, Json] | None:
    """The checkpoint's config.json; None where it has none. Raises InvalidConfig for one that cannot be read."""
    path = checkpoint.root / "config.json"
    return read_json_object(path) if path.exists() else None


def readable_config(checkpoint: Checkpoint) -> dict[str, Json] | None:
    """The same for what looks at the weights alone: None, too, where the file cannot be read."""
    try:
        return config_beside(checkpoint)
    except WeightsmithError:
        return None
