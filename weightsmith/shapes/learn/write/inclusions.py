"""Leaves to other pages what they say: the last step of the catalog, when every page is learned.

The text model of most classes that see or hear is a type with a page of its own, and their towers are those of others.
Such a part is of the same class wherever it is. So it has all that the other page says of it, also what the learner
found out there alone: it asks a type more than a part.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, cast

from weightsmith.process.durable import replace_file
from weightsmith.shapes.page.composition import TABLES, inner_parts, part_alone, stem_of
from weightsmith.shapes.page.inclusion import Inclusion, included
from weightsmith.shapes.page.page import (
    CATALOG,
    PART_PAGES,
    catalog_types,
    included_document,
    learned_types,
    page_document,
    page_text,
)
from weightsmith.shapes.page.page_file import read_file, text_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.composition import InnerPart
    from weightsmith.shapes.page.page_file import PageDocument

# What an included page may say beside what was learned of the part.
_MAY_ADD = ("optional", "aliases", "unverifiable")
# So many of its tensors at least have the same equations.
_ALIKE = 0.75


def write_inclusions() -> None:
    """Every learned page as its file has it, and the pages of the parts that several have."""
    page_document.cache_clear()
    pages = {model_type: page_document(model_type) for model_type in learned_types(CATALOG)}
    parts = shared_parts(pages)
    folder = CATALOG / PART_PAGES
    folder.mkdir(exist_ok=True)
    for gone in {path.stem for path in folder.glob("*.json")} - parts.keys():
        (folder / f"{gone}.json").unlink()
    for name, part in parts.items():
        replace_file(folder / f"{name}.json", text_of(cast("JsonObject", part)).encode())
    for cached in (included_document, page_document):
        cached.cache_clear()
    for model_type, page in pages.items():
        _write(model_type, text_of(with_inclusions(page, parts)))


def write_out(changing: Collection[str]) -> None:
    """The pages that include one which is learned anew say by themselves, from now on, what it has said so far."""
    for model_type in learned_types(CATALOG):
        includes = read_file(page_text(model_type), model_type).get("includes", {})
        if any(one["page"] in changing for one in includes.values()):
            _write(model_type, text_of(cast("JsonObject", page_document(model_type))))


def _write(model_type: str, text: str) -> None:
    if text != page_text(model_type):
        replace_file(CATALOG / f"{model_type}.json", text.encode())


def shared_parts(pages: Mapping[str, PageDocument]) -> dict[str, PageDocument]:
    """Type of a part → its page, for each that is in several of these pages, and has none as a model.

    Of the pages that have it the one counts that knows most of its settings.
    """
    found: dict[str, list[PageDocument]] = defaultdict(list)
    for model_type, page in pages.items():
        for section, part in inner_parts().get(model_type, {}).items():
            alone = None if part.model_type in catalog_types() else part_alone(page, section, part.prefix)
            if alone is not None and _is_whole(alone):
                found[part.model_type].append(_of_part(part.model_type, page["source"], alone))
    best = {t: max(several, key=lambda one: len(one["fields"])) for t, several in found.items()}
    return {t: best[t] for t in sorted(best) if sum(_has(one, best[t]) for one in found[t]) > 1}


def _of_part(model_type: str, source: str, alone: PageDocument) -> PageDocument:
    said = {key: value for key, value in alone.items() if value and key != "base"}
    document = {"model_type": model_type, "architectures": [], "source": source, "fields": {}, **said}
    return cast("PageDocument", document)


def with_inclusions(page: PageDocument, parts: Collection[str]) -> JsonObject:
    """A page as its file has it. parts: the types of parts that have pages."""
    includes = dict(_inclusions(page, parts))
    said = [included(section, one, included_document) for section, one in includes.items()]
    own: dict[str, Json] = {}
    for key, value in cast("JsonObject", page).items():
        left = _without(key, value, cast("list[JsonObject]", said))
        if left or not value:
            own[key] = left
        if key == "source" and includes:
            own["includes"] = cast("Json", includes)
    return own


def _without(key: str, value: Json, said: Sequence[JsonObject]) -> Json:
    """What a key of a page holds beside what others say: in the order in which the whole page has it."""
    if key == "rules":
        theirs = [rule for one in said for rule in cast("list[str]", one[key])]
        return [rule for rule in cast("list[str]", value) if rule not in theirs]
    if key not in TABLES:
        return value
    table = {name: entry for one in said for name, entry in cast("JsonObject", one[key]).items()}
    whole = {**table, **cast("JsonObject", value)}
    return {name: entry for name, entry in whole.items() if name not in table or table[name] != entry}


def _inclusions(page: PageDocument, parts: Collection[str]) -> Iterator[tuple[str, Inclusion]]:
    for section, part in inner_parts().get(page["model_type"], {}).items():
        inclusion = _inclusion(part, parts)
        if inclusion is not None:
            theirs = included(section, inclusion, included_document)
            if _is_whole(theirs) and _has(page, theirs):
                yield section, inclusion


def _inclusion(part: InnerPart, parts: Collection[str]) -> Inclusion | None:
    """How the page of a part's type is included; None where there is none, or where its body is not told apart."""
    name = part.model_type
    if name in parts:
        return {"page": name, "names": "", "under": part.prefix}
    if name not in catalog_types() or name in inner_parts():
        return None
    names = stem_of(page_document(name), part.built_by)
    return None if names is None else {"page": name, "names": names, "under": part.prefix}


def _is_whole(part: PageDocument) -> bool:
    """Whether a part is explained, and stored in one way."""
    return not part["unexpressed"] and not any(part["layouts"].values())


def _has(page: PageDocument, part: PageDocument) -> bool:
    """Whether a page has all that another says of a part, most of its tensors with the same equations."""
    ours, theirs = cast("dict[str, JsonObject]", page), cast("dict[str, JsonObject]", part)
    needed = [key for key in TABLES if key not in _MAY_ADD]
    if any(theirs.get(key, {}).keys() - ours.get(key, {}).keys() for key in needed):
        return False
    same = sum(page["tensors"][name] == shape for name, shape in part["tensors"].items())
    return same >= _ALIKE * len(part["tensors"])
