"""A page as its file: JSON with one tensor, field or rule per line, so that a change of the catalog reads as a diff.

A list of words says how often each comes in a row: `["sliding_attention × 5", "full_attention"]`. `text_of` writes a
file and `read_file` reads it; what lies between them is a document with the lists as configs have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TypedDict, cast

from weightsmith.errors import InvalidPage
from weightsmith.shapes.page.inclusion import Inclusion  # noqa: TC001 - the schema of a page is made of it
from weightsmith.shapes.page.list_spellings import ListSpellingDocument  # noqa: TC001 - the schema of a page is made of it
from weightsmith.shapes.page.value import LONGEST_LIST

if TYPE_CHECKING:
    from weightsmith.json_value import Json, JsonObject
else:
    Json = object  # what the schema of a page says of it: anything

# A file of another number is read by another release.
SCHEMA = 1
_LINE = 110
# The keys under which there are values of configs, which may be lists of words.
_VALUES = ("fields", "unverifiable", "base")
_RUN = re.compile(r"(.*) × ([1-9][0-9]*)")


class _Always(TypedDict):
    model_type: str
    architectures: list[str]
    source: str
    fields: dict[str, Json]
    tensors: dict[str, str | list[str]]


class PageDocument(_Always, total=False):
    """A family page; docs/families.md describes the keys."""

    custom_code: bool
    unverifiable: dict[str, Json]
    rules: list[str]
    computed: dict[str, str]
    lists: dict[str, str]
    optional: dict[str, str | list[str]]
    layouts: dict[str, dict[str, str | list[str]]]
    copies: dict[str, str]
    choices: dict[str, list[Json]]
    base: dict[str, Json]
    parts: dict[str, list[str]]
    unexpressed: dict[str, str]
    spellings: list[dict[str, str]]
    aliases: dict[str, str]
    yielding: list[str]
    list_spellings: list[ListSpellingDocument]


class WrittenPage(PageDocument, total=False):
    """A family page that may leave some of it to the pages of other types (`inclusion.whole` joins them)."""

    includes: dict[str, Inclusion]


class _Numbered(TypedDict):
    schema: Literal[1]


class PageFile(WrittenPage, _Numbered, total=False):
    """A family page as its file has it; docs/families.md describes the keys."""


def text_of(page: JsonObject) -> str:
    """The file of a page."""
    numbered = {"schema": SCHEMA, **page}
    entries = {key: _in_runs(value) if key in _VALUES else value for key, value in numbered.items()}
    parts = [f'  "{key}": {_value(value, 2)}' for key, value in entries.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read_file(text: str, where: str) -> WrittenPage:
    """The page of a file. where: its name, for errors. Raises InvalidPage where it is of another schema."""
    found = json.loads(text)
    number = found.pop("schema", None)
    if number != SCHEMA:
        fact = f"has schema {number!r}, not {SCHEMA}"
        way_out = f'take the page of this release; one that you write begins with "schema": {SCHEMA}'
        raise InvalidPage(where, fact, way_out)
    pages = {key: _without_runs(value) if key in _VALUES else value for key, value in found.items()}
    return cast("WrittenPage", pages)


def _in_runs(value: Json) -> Json:
    """Lists of words as runs, at any depth. Raises InvalidPage for a word that looks like a run."""
    if isinstance(value, Mapping):
        return {key: _in_runs(inner) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    if not value or not all(isinstance(item, str) for item in value):
        return [_in_runs(item) for item in value]
    if any(map(_RUN.fullmatch, value)):
        raise InvalidPage(repr(value), "has a word that reads as a run of words", "name it otherwise")
    runs = ((word, len(list(same))) for word, same in groupby(value))
    return [f"{word} × {count}" if count > 1 else word for word, count in runs]


def _without_runs(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {key: _without_runs(inner) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    found: list[Json] = []
    for item in value:
        run = _RUN.fullmatch(item) if isinstance(item, str) else None
        found += [run[1]] * min(int(run[2]), LONGEST_LIST) if run else [_without_runs(item)]
    return found


def _value(value: Json, indent: int) -> str:
    """Short lists stay on one line, objects get a line per entry; one in an object is short where a line holds it."""
    if isinstance(value, Mapping):
        items = [f"{json.dumps(key)}: {_entry(inner, indent + 2)}" for key, inner in value.items()]
        return _block("{", items, "}", indent) if items else "{}"
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, list) or len(line) <= _LINE:
        return line
    return _block("[", [json.dumps(item, ensure_ascii=False) for item in value], "]", indent)


def _entry(value: Json, indent: int) -> str:
    line = json.dumps(value, ensure_ascii=False)
    return _value(value, indent) if len(line) > _LINE else line


def _block(opening: str, items: Sequence[str], closing: str, indent: int) -> str:
    pad = "\n" + " " * indent
    return opening + ",".join(f"{pad}  {item}" for item in items) + pad + closing
