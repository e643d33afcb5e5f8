"""What a config calls its model: when the publisher's `model_type` and class name stand, and whose code they mean.

A name is replaced only where the tensors rule it out. They can do so only with names that the catalog knows: a class
of somebody's own, or an engine's word for a class that transformers spells otherwise, stands.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.checkpoint.config_file import CONFIG
from weightsmith.shapes.family.task_heads import body_alone, task_heads
from weightsmith.shapes.page.page import catalog_types, load_page, page_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.page import Page


def own_type(config: JsonObject | None, page: Page | None) -> str | None:
    """The config's `model_type` where neither `page` nor one of the catalog has it; None where none is stated."""
    stated = (config or {}).get("model_type")
    if not isinstance(stated, str) or not stated or (page is not None and stated == page.model_type):
        return None
    return stated if stated not in catalog_types() else None


def stands(stated_classes: Json, page: Page, alike: Collection[str] = ()) -> bool:
    """Whether the `architectures` of a config may be those of a model that `page` explains.

    One of them is the page's, in whatever case it is written (vLLM registers `PhiMoEForCausalLM`, transformers has
    `PhimoeForCausalLM`), or of a family that explains the tensors as well, or none of them is the class of another
    family or of this one with another task's head.

    alike: types that no tensor tells from the page's.
    """
    if not isinstance(stated_classes, list) or not stated_classes:
        return False
    if names_class(stated_classes, page) or any(names_class(stated_classes, load_page(t)) for t in alike):
        return True
    other_heads = {
        head.classes[page.model_type].lower() for head in task_heads() if page.model_type in head.classes
    }
    return not _lowered(stated_classes) & (_known_classes() | other_heads)


def read_by_type(page: Page) -> bool:
    """Whether the page is of a class that loaders choose by the type alone: its first one, or its body."""
    name = page.model_type
    if name not in catalog_types():
        return True
    body = body_alone(name)
    usual = [*load_page(name).architectures[:1], *([body.classes[name]] if body else [])]
    return names_class(usual, page)


def names_class(stated_classes: Json, page: Page) -> bool:
    """Whether one of the stated classes is the page's, in whatever case."""
    return bool(_lowered(stated_classes) & _lowered(list(page.architectures)))


def _lowered(names: Json) -> set[str]:
    return {name.lower() for name in names if isinstance(name, str)} if isinstance(names, list) else set()


@cache
def _known_classes() -> frozenset[str]:
    """Every class of the catalog, in lower case. The pages are not parsed for it."""
    texts = map(page_text, catalog_types())
    return frozenset(name.lower() for text in texts for name in json.loads(text).get("architectures", ()))


def own_code(config: JsonObject | None) -> str:
    """The config's `auto_map` in words, its model class first; empty where it names no code of its own."""
    stated = (config or {}).get("auto_map")
    if not isinstance(stated, dict):
        return ""
    entries = sorted(stated.items(), key=lambda entry: (entry[0] == "AutoConfig", str(entry[0])))
    return next((value for _, value in entries if isinstance(value, str)), "")


def own_class_problem(config: JsonObject | None, page: Page | None) -> Problem | None:
    """Says that the model is of a class that the catalog has no page for. page: the family that explains it, if any."""
    name, code = own_type(config, page), own_code(config)
    if name is None:
        return None
    where = f", and its code travels with it (auto_map: {code})" if code else ""
    alike = f"; its tensors are named and shaped as those of {page.model_type}" if page else ""
    return Problem("own-class", f"the catalog has no page for model_type {name!r}{where}{alike}", file=CONFIG)
