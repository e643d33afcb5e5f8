"""The file of the index of names: made when the program is built or set up, read when it runs, never read when stale.

A wheel holds the index of the pages that lie beside it. In a source tree pages change, so the index there says which
ones it was made from, and one of other pages, like one that is not there, is made in memory: most of a second.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from weightsmith.process.durable import replace_file
from weightsmith.shapes.family.family_index import FamilyIndex
from weightsmith.shapes.family.index_builder import build_index
from weightsmith.shapes.page.layouts import TABLE as STORED_LAYOUTS
from weightsmith.shapes.page.page import BY_HAND, CATALOG, ENGINE_NAMES, MEMORY_NAMES, PART_PAGES
from weightsmith.shapes.page.spellings import Spelling

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX = Path(__file__).parent / "families.json"
# The number of this file's form: a file of another one counts as made from other pages.
_FORM = 1


class _IndexDocument(TypedDict):
    """made_from: the digest of the pages; None where they cannot change."""

    made_from: str | None
    families: list[tuple[str, str]]
    spellings: list[dict[str, str]]
    always: dict[str, list[int]]
    maybe: dict[str, list[int]]
    usual: dict[str, list[int]]


@cache
def load_index() -> FamilyIndex:
    """The index of the pages that are there."""
    try:
        data = cast("_IndexDocument", json.loads(INDEX.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return build_index()
    # A form before this one does not say it.
    made_from = data.get("made_from", "")
    return _read(data) if made_from in (None, sources_digest()) else build_index()


def write_index(pages_may_change: bool = True) -> None:
    """Makes the file anew. pages_may_change: False in a wheel, where readers need not look at every page."""
    index = build_index()
    lines = [
        '{"made_from": ' + json.dumps(sources_digest() if pages_may_change else None) + ",",
        '"families": ' + json.dumps(index.families) + ",",
        '"spellings": ' + json.dumps([dict(s.rewrites) for s in index.spellings]) + ",",
        '"always": {\n' + _rows(index.always) + "\n},",
        '"maybe": {\n' + _rows(index.maybe) + "\n},",
        '"usual": {\n' + _rows(index.usual) + "\n}}",
    ]
    replace_file(INDEX, ("\n".join(lines) + "\n").encode())


def sources_digest() -> str:
    """Changes whenever a page does, or a table that is part of a page when it is read."""
    pages = [path for folder in (".", BY_HAND, PART_PAGES) for path in (CATALOG / folder).glob("*.json")]
    digest = hashlib.sha256(str(_FORM).encode())
    for path in [*sorted(pages), MEMORY_NAMES, ENGINE_NAMES, STORED_LAYOUTS]:
        text = path.read_bytes()
        digest.update(f"{path.name} {len(text)} ".encode() + text)
    return digest.hexdigest()


def _read(data: _IndexDocument) -> FamilyIndex:
    return FamilyIndex(
        tuple((t, s) for t, s in data["families"]),
        {name: tuple(families) for name, families in data["always"].items()},
        {name: tuple(families) for name, families in data["maybe"].items()},
        {name: tuple(families) for name, families in data["usual"].items()},
        tuple(map(Spelling.of, data["spellings"])),
    )


def _rows(names: Mapping[str, tuple[int, ...]]) -> str:
    return ",\n".join(f"{json.dumps(name)}: {json.dumps(families)}" for name, families in names.items())
