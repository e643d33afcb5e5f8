"""The page of a model whose parts are of other types than its class has by default: qwen3 in InternVL.

Which types those are, the config says. Where it does not, or where they do not explain the tensors, the names of each
part's tensors tell which types could.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from typing import TYPE_CHECKING

from weightsmith.shapes.family.candidates import candidates, grouped_by_equations, rank
from weightsmith.shapes.family.index_file import load_index
from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.page.composition import WITH_HEAD, inner_parts, part_alone, stem_of, with_part
from weightsmith.shapes.page.layouts import stored_layouts
from weightsmith.shapes.page.page import (
    as_loaders_take_it,
    catalog_types,
    load_page,
    page_document,
    parse_page,
)
from weightsmith.shapes.page.pattern import name_key, text_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import TypeAlias

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.page_file import PageDocument

    # Sub-config → the type that stands there, for each that is not the class's default.
    InnerTypes: TypeAlias = tuple[tuple[str, str], ...]

# The automatic class that most towers are built by.
_BODY = "AutoModel"
# So many combinations of types are tried with one family.
_TRIED = 12


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

    joined, turned: what `StoredLayouts` has of it, under the same names. stem: what the names begin with in the page
    of the type's own; empty where it has none.
    """

    stem: str
    page: PageDocument
    joined: Mapping[str, tuple[str, ...]]
    turned: tuple[str, ...]

    @staticmethod
    def of(model_type: str, section: str, prefix: str) -> Body | None:
        """What stands under a prefix in the page of a type, its settings in a section of the config ("": its top).

        None where its equations read settings of other sections, too.
        """
        known, page = stored_layouts(), part_alone(page_document(model_type), section, prefix)
        if page is None:
            return None
        return Body(
            "" if section else prefix,
            page,
            _under_other(known.joined.get(model_type, {}), prefix, ""),
            known.turned.get(model_type, ()),
        )

    @property
    def keys(self) -> set[str]:
        """The digit-free names of its tensors."""
        tables = (self.page["tensors"], self.page["optional"], *self.page["layouts"].values())
        return {text_key(text) for table in tables for text in table}


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
            rest = {n: made_of for n, made_of in joined.items() if not made_of[0].startswith(part.prefix)}
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

    built_by: the automatic class that builds it. None where the catalog knows it nowhere. Of several classes the one
    whose page knows most settings of it serves: not every class reads all of them.
    """
    with_head = built_by == WITH_HEAD
    if model_type in catalog_types() and model_type not in inner_parts():
        stem = stem_of(page_document(model_type), built_by)
        return None if stem is None else Body.of(model_type, "", stem)
    bodies = (
        Body.of(outer, section, part.prefix)
        for outer, parts in inner_parts().items()
        for section, part in parts.items()
        if part.model_type == model_type and part.built_by and (part.built_by == WITH_HEAD) == with_head
    )
    return max(filter(None, bodies), key=lambda body: len(body.page["fields"]), default=None)


def exchanged(page: Page) -> dict[str, str]:
    """Dotted setting → type, for each part of a page that is not of the class's default type."""
    return {
        f"{section}.model_type": str(page.base[f"{section}.model_type"])
        for section, part in inner_parts().get(page.model_type, {}).items()
        if page.base.get(f"{section}.model_type", part.model_type) != part.model_type
    }


@cache
def alike(model_type: str) -> tuple[str, ...]:
    """The types that no tensor tells from one, itself among them, the well-known first."""
    if model_type in catalog_types():
        groups = grouped_by_equations(catalog_types(), load_index())
        return next((t, *same) for t, same in groups.items() if model_type in (t, *same))
    bodies = {tower: body_of(tower, _BODY) for tower in _towers()}
    own = bodies.get(model_type)
    if own is None:
        return (model_type,)
    # One that has parts which the other lacks may do without them.
    keys = own.keys
    return tuple(t for t, body in bodies.items() if body and (body.keys <= keys or body.keys >= keys))


@cache
def _towers() -> tuple[str, ...]:
    """The types of parts that have no page of their own, those that most classes have by default first."""
    types = Counter(part.model_type for parts in inner_parts().values() for part in parts.values())
    return tuple(sorted(types.keys() - {*catalog_types()}, key=lambda t: (-types[t], t)))


def wholes_of(keys: Collection[str]) -> tuple[str, ...]:
    """Models of several parts that have just these tensors outside of their parts, those with most of these first."""
    index, known = load_index(), Counter[str]()
    for key in keys:
        families = (*index.always.get(key, ()), *index.maybe.get(key, ()))
        types = {index.families[family][0] for family in families} & inner_parts().keys()
        known.update(t for t in types if not key.startswith(_prefixes(t)))
    outside = {t: sum(not key.startswith(_prefixes(t)) for key in keys) for t in known}
    layouts = {
        family: t
        for family, (t, _) in enumerate(index.families)
        if t in outside and outside[t] == known[t] < len(keys)
    }
    for name, families in index.always.items() if layouts else ():
        if name not in keys:
            for family in families:
                if family in layouts and not name.startswith(_prefixes(layouts[family])):
                    del layouts[family]
    return tuple(sorted({*layouts.values()}, key=lambda t: (-known[t], rank(t))))


def _prefixes(model_type: str) -> tuple[str, ...]:
    """What the digit-free names of the parts begin with that may be of any type."""
    parts = inner_parts()[model_type].values()
    return tuple(name_key(part.prefix) for part in parts if part.built_by is not None)


def explaining_types(model_type: str, keys: Collection[str], stated: InnerTypes = ()) -> Iterator[InnerTypes]:
    """Types of the parts of a model that could have tensors of these names, the likeliest first.

    keys: digit-free names. stated: types that are known not to do. Nothing where these, or the class's own, have all of
    the names: then it is not the types that are wrong. Nothing where a part is not there that no config may leave out,
    where names outside of the parts are not the class's own, or where no type has those of a part.
    """
    page = load_page(model_type)
    own_names, names = page.keys, set(page.reading(keys)[1])
    if names <= own_names or names <= page_with(model_type, stated).keys:
        return
    options: list[list[tuple[str, str] | None]] = []
    for section, part in inner_parts().get(model_type, {}).items():
        prefix = name_key(part.prefix)
        own = {name for name in names if name.startswith(prefix)}
        if not own and section not in page.parts:
            return
        if own and part.built_by:
            names -= own
            inside = frozenset(name.removeprefix(prefix) for name in own)
            others = ((section, other) for other in _types_with(inside, part.built_by))
            options.append([*([None] if own <= own_names else []), *others])
    if names <= own_names:
        for chosen in islice(product(*options), _TRIED):
            if any(chosen):
                yield tuple(one for one in chosen if one is not None)


@cache
def _types_with(names: frozenset[str], built_by: str) -> tuple[str, ...]:
    """Types whose body may have just these tensors, the likeliest first; one for all that have the same equations."""
    index = load_index()
    found: dict[str, tuple[int, tuple[int, str]]] = {}
    for stem in {"", *(spelling.stem for spelling in index.spellings)}:
        for model_type, (misses, unusual) in candidates({stem + n for n in names}, index, stem).items():
            body = None if misses else body_of(model_type, built_by)
            if body is not None and body.stem == stem:
                found[model_type] = unusual, rank(model_type)
    for place, model_type in enumerate(() if found else _towers()):
        body = body_of(model_type, built_by)
        if body is not None and names <= body.keys:
            found[model_type] = place, rank(model_type)
    ordered = sorted(found, key=lambda t: found[t])
    return tuple(t for t in ordered if t == next(o for o in ordered if o in alike(t)))
