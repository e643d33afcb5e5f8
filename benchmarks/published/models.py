"""The published models: one JSON object per line in models/, one file per group."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject

FOLDER = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model and its config, with the keys of its time.

    name: as its publisher calls it, `owner/model`. source: where the config was found. notes: in what it is not the
    publisher's file byte for byte, empty where it is. group: the file that it stands in.
    """

    name: str
    source: str
    config: JsonObject
    notes: str
    group: str

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])


def groups() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def read_group(group: str, folder: Path = FOLDER) -> list[PublishedModel]:
    lines = (folder / f"{group}.jsonl").read_text(encoding="utf-8").splitlines()
    return [_model(json.loads(line), group) for line in lines]


def _model(line: JsonObject, group: str) -> PublishedModel:
    config = line["config"]
    assert isinstance(config, dict)
    return PublishedModel(str(line["name"]), str(line["source"]), config, str(line.get("notes", "")), group)
