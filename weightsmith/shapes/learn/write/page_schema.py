"""The JSON Schema of a page's file, made of its type: `page/page_schema.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.json_schema import schema_of
from weightsmith.process.durable import replace_file
from weightsmith.shapes.page import page_file

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject

SCHEMA_FILE = Path(page_file.__file__).parent / "page_schema.json"


def page_schema() -> JsonObject:
    return schema_of(page_file.PageFile, "weightsmith family page")


def write_schema() -> None:
    replace_file(SCHEMA_FILE, (json.dumps(page_schema(), indent=2) + "\n").encode())
