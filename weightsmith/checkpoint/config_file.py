"""The config.json beside a checkpoint's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import read_json_object
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from weightsmith.checkpoint.table import Checkpoint
    from weightsmith.json_value import Json


def config_beside(checkpoint: Checkpoint) -> dict[str, Json] | None:
    """The checkpoint's config.json; None where it has none, or none that can be read (`infer-config` says why)."""
    path = checkpoint.root / "config.json"
    try:
        return read_json_object(path) if path.exists() else None
    except WeightsmithError:
        return None
