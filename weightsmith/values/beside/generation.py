"""What generation_config.json sets that config.json does not have, or has otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import readable_config
from weightsmith.checkpoint.json_file import CONFIG_FILE
from weightsmith.values.settings_diff import ABSENT, read_settings

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint
    from weightsmith.documents import GenerationEntry
    from weightsmith.json_value import Json

_FILE = "generation_config.json"
# What says who wrote the file, and nothing of the model.
_NO_SETTING = frozenset({"_from_model_config", "transformers_version"})
# Real files have up to twenty settings.
_MOST = 100
# Where a config of a model with several parts keeps the text model's own.
_TEXT = ("text_config", "llm_config", "language_config")


@dataclass(frozen=True, slots=True)
class GenerationSetting:
    """One setting, by its name with dots. config: what config.json has, ABSENT where it has none."""

    name: str
    value: Json
    config: Json

    def document(self) -> GenerationEntry:
        """One entry of `generation` in the JSON of `inspect`."""
        return {"name": self.name, "value": self.value, "config": self.config}


def generation_settings(checkpoint: Checkpoint) -> tuple[GenerationSetting, ...]:
    """Those that differ; none where the file is absent or cannot be read. null is as good as no setting."""
    settings = read_settings(checkpoint.root / _FILE, CONFIG_FILE) or {}
    config = readable_config(checkpoint) or {}
    inner = next((part for name in _TEXT if isinstance(part := config.get(name), dict)), {})
    stated = {**inner, **config}
    rows = (
        GenerationSetting(name, value, stated.get(name, ABSENT))
        for name, value in settings.items()
        if name not in _NO_SETTING and value is not None and stated.get(name) != value
    )
    return tuple(row for row, _ in zip(rows, range(_MOST), strict=False))
