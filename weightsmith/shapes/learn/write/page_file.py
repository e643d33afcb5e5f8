"""Pages as files: JSON with one tensor, field or rule per line, so that a change of the catalog reads as a diff."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from weightsmith.process.durable import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import Json, JsonObject

# Short lists stay on one line, objects get a line per entry.
_LINE = 110


def text_of(page: JsonObject) -> str:
    parts = [f'  "{key}": {_value(value, 2)}' for key, value in page.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _value(value: Json, indent: int) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict) and (not isinstance(value, list) or len(line) <= _LINE):
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        nested = [
            f"{json.dumps(k)}: {_value(v, indent + 2) if isinstance(v, list) else json.dumps(v, ensure_ascii=False)}"
            for k, v in value.items()
        ]
        return (
            "{\n" + ",\n".join(pad + item for item in nested) + "\n" + " " * indent + "}" if nested else "{}"
        )
    items = [json.dumps(item, ensure_ascii=False) for item in value]
    return "[\n" + ",\n".join(pad + item for item in items) + "\n" + " " * indent + "]"


def write_page(folder: Path, model_type: str, page: JsonObject) -> None:
    """Whole or not at all: a page that is half written would not parse."""
    replace_file(folder / f"{model_type}.json", text_of(page).encode())
