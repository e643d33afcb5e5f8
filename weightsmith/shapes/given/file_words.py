"""Lists of kinds of layers that a file says in its own way: read as the page has them, and written as the file does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.given.config import Stated, lookup, with_values
from weightsmith.shapes.page.list_spellings import OtherWords
from weightsmith.shapes.page.value import LONGEST_LIST, is_number

if TYPE_CHECKING:
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.list_spellings import ListSpelling
    from weightsmith.shapes.page.page import Page


def with_page_lists(config: JsonObject | None, page: Page) -> JsonObject | None:
    """The config with each list of the page in the page's words; the same object where nothing says one otherwise."""
    found: dict[str, Json] = {}
    for field in dict.fromkeys(spelling.field for spelling in page.list_spellings):
        used = _used(config, page, field)
        read = used[0].read(used[1], _length(config, page, field)) if used else None
        if read is not None:
            found[field] = read
    if config is None or not found:
        return config
    return with_values(config, found)


def said_otherwise(config: JsonObject | None, page: Page, field: str) -> bool:
    """Whether a list of the page has other words in this file, be they right or not, or would have if it were there."""
    return _used(config, page, field) is not None or _usual(config, page, field) is not None


def in_own_words(config: JsonObject | None, page: Page, field: str, items: Json) -> dict[str, Json] | None:
    """The settings by which the file says this list, or would; None where it has no words for it."""
    used = _used(config, page, field) or _usual(config, page, field)
    return used[0].write(items, used[1]) if used and isinstance(items, list) else None


def _used(config: JsonObject | None, page: Page, field: str) -> tuple[ListSpelling, dict[str, Json]] | None:
    """(the way in which the file says a list, what it says); None where it has the list as the page does, or not at
    all. A class takes the list itself before all that stands for it."""
    stated = lookup(config, field)[1] is not None
    for spelling in page.list_spellings:
        said = {name: lookup(config, name)[1] for name in spelling.names}
        if spelling.field == field and None not in said.values() and (not stated or field in said):
            return spelling, said
    return None


def _usual(config: JsonObject | None, page: Page, field: str) -> tuple[ListSpelling, dict[str, Json]] | None:
    """The older words of a family that still calls its modules by one of them, where the file does not have the list.

    Its published configs have these words, and every version of the class takes them: granite-4.0-h has layers of the
    kinds `mamba` and `attention`.
    """
    names = {part for patterns in page.layouts.values() for p in patterns for part in p.text.split(".")}
    for spelling in page.list_spellings if lookup(config, field)[1] is None else ():
        older = isinstance(spelling, OtherWords) and spelling.name == spelling.field == field
        if isinstance(spelling, OtherWords) and older and not names.isdisjoint(spelling.words):
            return spelling, {field: list(spelling.words)}
    return None


def _length(config: JsonObject | None, page: Page, field: str) -> int | None:
    """How many layers the file says there are, or its class where it does not; None where no setting counts them."""
    count, stated = page.lists.get(field), Stated(config, page)
    length = count.at({name: stated.assumed(name, {}) for name in count.fields()}) if count else None
    return length if is_number(length) and length <= LONGEST_LIST else None
