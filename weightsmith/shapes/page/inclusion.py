"""What a page's file leaves to another: the text model of llava is that of llama, under another prefix.

In the file, `"includes": {"text_config": {"page": "llama", "names": "model.", "under": "language_model.model."}}`: what
stands under `names` in that page is the part that is built from this section of the config, and its names begin with
`under` here. Where the file itself says something else of an entry, this counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

from weightsmith.shapes.page.composition import TABLES, as_part, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.page_file import PageDocument, WrittenPage


class Inclusion(TypedDict):
    """page: which is included. names: what the names of the part's tensors begin with there. under: what here."""

    page: str
    names: str
    under: str


def whole(page: WrittenPage, load: Callable[[str], PageDocument]) -> PageDocument:
    """A page with the entries of those that it includes before its own. load: makes one. Raises InvalidPage."""
    parts = [included(section, one, load) for section, one in page.get("includes", {}).items()]
    found = cast("dict[str, object]", {key: value for key, value in page.items() if key != "includes"})
    for key in TABLES if parts else ():
        tables = [cast("dict[str, JsonObject]", one).get(key, {}) for one in (*parts, page)]
        if joined := {name: value for table in tables for name, value in table.items()}:
            found[key] = joined
    if rules := dict.fromkeys(rule for one in (*parts, page) for rule in one.get("rules", ())):
        found["rules"] = list(rules)
    return cast("PageDocument", found)


def included(section: str, inclusion: Inclusion, load: Callable[[str], PageDocument]) -> PageDocument:
    """What another page says of a part, as the including page has it.

    Neither settings that nothing of the part reads, nor what its type needs to be built alone. Raises InvalidPage.
    """
    part = as_part(load(inclusion["page"]), section, inclusion["under"], inclusion["names"])
    read = read_settings(part)
    fields = {name: value for name, value in part["fields"].items() if name in read}
    return {**part, "base": {}, "fields": fields}
