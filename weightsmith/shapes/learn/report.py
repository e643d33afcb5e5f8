"""What the catalog holds, told from its pages: how much of each type is expressed, and why a type has no page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from weightsmith.shapes.learn.write.patches import read_patch
from weightsmith.shapes.learn.write.refusals import read_refusals
from weightsmith.shapes.page.page import (
    CATALOG,
    by_hand_types,
    catalog_types,
    page_document,
    page_text,
    parse_page,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADERS = ("type", "roles", "unexpressed", "bytes", "made", "source")


def report() -> str:
    """A table with one row for each page, and a line for each type that has none."""
    rows = list(_rows())
    lines = [tabulate(rows, headers=_HEADERS, disable_numparse=True)]
    lines += [f"{model_type}: no page: {why}" for model_type, why in read_refusals(CATALOG).items()]
    whole = sum(not unexpressed for _, _, unexpressed, *_ in rows)
    lines.append(f"{len(rows)} pages, {whole} of them whole")
    return "\n".join(lines)


def _rows() -> Iterator[tuple[str, int, int, int, str, str]]:
    written = by_hand_types(CATALOG)
    for model_type in catalog_types():
        text = page_text(model_type)
        page = parse_page(page_document(model_type))
        roles = len({pattern.text for patterns in page.layouts.values() for pattern in patterns})
        changes = len(read_patch(CATALOG, model_type))
        made = "by hand" if model_type in written else f"learned, {changes} patched" if changes else "learned"
        yield model_type, roles, len(page.unexpressed), len(text.encode()), made, page.source[:60]
