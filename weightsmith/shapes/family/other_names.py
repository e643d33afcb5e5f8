"""Other names for the same settings: a flat config where the class nests, `hidden_size` where it says `n_embd`.

Config classes of transformers take both. The first Qwen2-VL configs state the text model's sizes at the top, and the
class puts them into a `text_config` that the file does not have. A page lists such names; the file's own are read,
reported and corrected, wherever they stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.family.task_heads import with_label_count
from weightsmith.shapes.given.config import lookup, with_values
from weightsmith.shapes.given.file_words import with_page_lists
from weightsmith.shapes.given.layer_overrides import with_overrides

if TYPE_CHECKING:
    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.page import Page


def canonical(config: JsonObject | None, page: Page) -> JsonObject | None:
    """The config as its class reads it: every setting under the page's name, every list in the page's words."""
    config = with_overrides(with_label_count(config, page), page)
    moved = _moved(config, page)
    if config is None or not moved:
        return with_page_lists(config, page)
    whole = with_values(config, {field: lookup(config, alias)[1] for field, alias in moved.items()})
    return with_page_lists(whole, page)


def place(config: JsonObject | None, page: Page, field: str) -> str:
    """Where the file has a field; one that it lacks goes where its like are."""
    moved = _moved(config, page)
    if field in moved:
        return moved[field]
    parent = _parent(field)
    flat = parent and any(_parent(other) == parent != _parent(alias) for other, alias in moved.items())
    usual = (alias for alias, name in page.aliases.items() if name == field and _parent(alias) != parent)
    return next(usual, field) if flat else field


def _moved(config: JsonObject | None, page: Page) -> dict[str, str]:
    """Field → the alias that counts in its place. Nothing beside an object is read as if it stood in it."""
    return {
        field: alias
        for alias, field in page.aliases.items()
        if lookup(config, alias)[0] and _counts(config, page, alias, field) and _is_open(config, field, alias)
    }


def _counts(config: JsonObject | None, page: Page, alias: str, field: str) -> bool:
    """Whether an alias is what the class takes: the field is not stated, or otherwise and before the alias."""
    stated, value = lookup(config, field)
    differs = stated and lookup(config, alias)[1] not in (None, value)
    return not stated or (differs and _parent(field) == _parent(alias) and alias not in page.yielding)


def said_twice(config: JsonObject | None, page: Page, field: str) -> list[str]:
    """The aliases under which the file states a field that it states itself, too, and which count before it."""
    beside = (a for a, name in page.aliases.items() if name == field and _parent(a) == _parent(field))
    twice = lookup(config, field)[1] is not None
    return [a for a in beside if twice and a not in page.yielding and lookup(config, a)[1] is not None]


def _is_open(config: JsonObject | None, field: str, alias: str) -> bool:
    parent = _parent(field)
    return parent == _parent(alias) or not lookup(config, parent)[0]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
