"""The page of a model whose parts are of the types that its config names: qwen3 in InternVL, gemma2 in PaliGemma."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.page.composition import inner_parts, part_alone, with_part
from weightsmith.shapes.page.layouts import stored_layouts
from weightsmith.shapes.page.page import (
    as_loaders_take_it,
    catalog_types,
    load_page,
    page_document,
    parse_page,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.page import Page, PageDocument

    # Sub-config → the type that stands there, for each that is not the class's default.
    InnerTypes: TypeAlias = tuple[tuple[str, str], ...]

# The automatic class that builds a model with its head; others build the body alone.
_WITH_HEAD = "AutoModelForCausalLM"


def page_for(model_type: str, config: JsonObject | None) -> Page:
    """The page of a type, its parts of the types that the config names. Raises InvalidPage for an unknown type."""
    return page_with(model_type, stated_types(model_type, config))


def stated_types(model_type: str, config: JsonObject | None) -> InnerTypes:
    """The types of parts that a config names, where the class takes any type and has another by default.

    A type that the catalog does not know anywhere is left out.
    """
    found = []
    for section, part in inner_parts().get(model_type, {}).items():
        stated = lookup(config, f"{section}.model_type")[1]
        other = isinstance(stated, str) and stated != part.model_type and part.built_by is not None
        if other and body_of(str(stated), str(part.built_by)) is not None:
            found.append((section, str(stated)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Body:
    """A type as a part of a model: its page, with names and settings as they are inside the part.

    joined, turned: what `StoredLayouts` has of it, under the same names.
    """

    page: PageDocument
    joined: Mapping[str, tuple[str, ...]]
    turned: tuple[str, ...]

    @staticmethod
    def of(model_type: str, section: str, prefix: str) -> Body:
        """What stands under a prefix in the page of a type, its settings in a section of the config ("": its top)."""
        known = stored_layouts()
        return Body(
            part_alone(page_document(model_type), section, prefix),
            _under_other(known.joined.get(model_type, {}), prefix, ""),
            known.turned.get(model_type, ()),
        )


@cache
def page_with(model_type: str, inner: InnerTypes) -> Page:
    """The page of a type with other types in the places of its parts."""
    if not inner:
        return load_page(model_type)
    document, known = page_document(model_type), stored_layouts()
    joined, turned = dict(known.joined.get(model_type, {})), known.turned.get(model_type, ())
    for section, other in inner:
        part = inner_parts()[model_type][section]
        body = body_of(other, str(part.built_by))
        if body is not None:
            document = with_part(document, section, part, other, body.page)
            rest = {name: parts for name, parts in joined.items() if not name.startswith(part.prefix)}
            joined = rest | _under_other(body.joined, "", part.prefix)
            turned += body.turned
    return as_loaders_take_it(parse_page(document), joined, turned)


def _under_other(
    joined: Mapping[str, tuple[str, ...]], before: str, after: str
) -> dict[str, tuple[str, ...]]:
    """The same joined tensors under another prefix; those that do not begin so are of another part."""
    return {
        after + name.removeprefix(before): tuple(after + part.removeprefix(before) for part in parts)
        for name, parts in joined.items()
        if all(text.startswith(before) for text in (name, *parts))
    }


@cache
def body_of(model_type: str, built_by: str) -> Body | None:
    """A type as a part: from the page of its own, else from that of a class that has it by default.

    built_by: the automatic class that builds it. None where the catalog knows it nowhere.
    """
    with_head = built_by == _WITH_HEAD
    if model_type in catalog_types() and model_type not in inner_parts():
        stem = "" if with_head else _stem_of(model_type)
        return Body.of(model_type, "", stem) if with_head or stem else None
    for outer, parts in inner_parts().items():
        for section, part in parts.items():
            if part.model_type == model_type and (part.built_by == _WITH_HEAD) == with_head:
                return Body.of(outer, section, part.prefix)
    return None


def _stem_of(model_type: str) -> str:
    """What the names of a type's body begin with in its page; empty where it is not told apart from its head."""
    spellings = page_document(model_type).get("spellings", ())
    stems = (ours for rewrites in spellings for disk, ours in rewrites.items() if not disk)
    return next(stems, "")
