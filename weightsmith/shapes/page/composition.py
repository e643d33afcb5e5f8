"""Pages of models of several parts: one part's tensors and settings, and another type in a part's place.

A vision-language class has a text model and a vision tower, each built from a config of its own. Its page is of the
types that the class has by default. Most classes build whatever type such a config names: that type's own page, with
its names under the part's prefix and its settings under the part's config, then stands in the place of the default.

All of it is done on pages as their files have them, before they are parsed.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.page_file import PageDocument

    Equations: TypeAlias = Mapping[str, str | list[str]]

PARTS = Path(__file__).parent / "inner_parts.json"
# What a page says about its settings or tensors, by their names.
TABLES = (
    "fields", "unverifiable", "computed", "lists", "tensors", "optional", "copies", "choices", "base", "unexpressed",
    "aliases",
)  # fmt: skip
# The automatic class that builds a model with its head; the others build the body alone.
WITH_HEAD = "AutoModelForCausalLM"
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_QUOTED = re.compile(r"('[^']*'|\"[^\"]*\")")
_COUNT = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class InnerPart:
    """A part of a model, built from a config inside its config.

    model_type: the type that it has by default. prefix: what its tensors' names begin with on disk. built_by: the
    automatic class of transformers that builds whatever type the inner config names; None where the type is fixed.
    """

    model_type: str
    prefix: str
    built_by: str | None

    def document(self) -> JsonObject:
        return asdict(self)


@cache
def inner_parts() -> dict[str, dict[str, InnerPart]]:
    """Model type → sub-config → its part (made by weightsmith.shapes.learn.inner_parts)."""
    data = cast("dict[str, dict[str, dict[str, str]]]", json.loads(PARTS.read_text(encoding="utf-8")))
    return {
        model_type: {
            section: InnerPart(part["model_type"], part["prefix"], part["built_by"])
            for section, part in parts.items()
        }
        for model_type, parts in data.items()
    }


def part_alone(page: PageDocument, section: str, prefix: str) -> PageDocument | None:
    """One part of a page: tensors that begin with `prefix`, settings of `section`, both without these.

    section: "" for a page whose settings stand on the top. None where equations of the part read other settings, too.
    """
    part = _Move(page, f"{section}." if section else "", "", prefix, "")
    alone = part.document()
    foreign = {name for name in _settings(page) if not name.startswith(part.section)}
    return None if foreign & _names(alone) - _settings(alone) else alone


def as_part(page: PageDocument, section: str, prefix: str, names: str = "") -> PageDocument:
    """What a page says, of a part: tensors under `prefix`, settings under `section`.

    names: what the tensors' names begin with in the page; others are left out.
    """
    return _Move(page, "", f"{section}.", names, prefix).document()


def with_part(
    outer: PageDocument, section: str, part: InnerPart, model_type: str, inner: PageDocument
) -> PageDocument:
    """The page of `outer` with another type in the place of a part.

    model_type: the other type. inner: its page, as `part_alone` has it.
    """
    moved = as_part(inner, section, part.prefix)
    rest = _without(outer, f"{section}.", part.prefix)
    page = cast("dict[str, JsonObject]", {**outer})
    for key in TABLES:
        page[key] = {**_table(rest, key), **_table(moved, key)}
    known = page["fields"].keys() | page["unverifiable"].keys()
    used = _names(rest) - known
    kept = {name: value for name, value in _table(outer, "fields").items() if name in used}
    page["fields"] = {**page["fields"], **kept}
    page["base"] = {**page["base"], f"{section}.model_type": model_type}
    document = cast("PageDocument", page)
    document["rules"] = [*rest.get("rules", ()), *moved.get("rules", ())]
    document["layouts"] = _product(rest.get("layouts", {}), moved.get("layouts", {}))
    return document


@dataclass(frozen=True, slots=True)
class _Move:
    """A page with its settings under another section and its tensors under another prefix.

    What does not begin with `section`, or `prefix`, is of another part and is left out.
    """

    page: PageDocument
    section: str
    new_section: str
    prefix: str
    new_prefix: str

    def document(self) -> PageDocument:
        page = self.page
        moved: dict[str, object] = {key: self._renamed(key) for key in TABLES}
        moved["rules"] = [self._equation(rule) for rule in page.get("rules", ()) if self._is_own(rule)]
        moved["layouts"] = {name: self._tensors(own) for name, own in page.get("layouts", {}).items()}
        return cast("PageDocument", moved)

    def _renamed(self, key: str) -> JsonObject:
        table = _table(self.page, key)
        match key:
            case "tensors" | "optional":
                return cast("JsonObject", self._tensors(cast("Equations", table)))
            case "copies":
                return {
                    n: o for a, b in table.items() if (n := self._tensor(a)) and (o := self._tensor(str(b)))
                }
            case "aliases":
                return {
                    n: o for a, b in table.items() if (n := self._field(a)) and (o := self._field(str(b)))
                }
            case "unexpressed":
                return {
                    n: why for name, why in table.items() if (n := self._tensor(name) or self._field(name))
                }
            case "fields" | "computed" | "lists":
                return {n: self._default(v) for name, v in table.items() if (n := self._field(name))}
        return {
            n: v
            for name, v in table.items()
            if (n := self._field(name)) and name != f"{self.section}model_type"
        }

    def _tensors(self, table: Equations) -> dict[str, str | list[str]]:
        return {
            name: self._equation(shape) if isinstance(shape, str) else [self._equation(one) for one in shape]
            for text, shape in table.items()
            if (name := self._tensor(text))
        }

    def _tensor(self, text: str) -> str | None:
        if not text.startswith(self.prefix):
            return None
        own = self.new_prefix + text.removeprefix(self.prefix)
        return _COUNT.sub(lambda count: self._equation(count[0]), own)

    def _field(self, name: str) -> str | None:
        return self.new_section + name.removeprefix(self.section) if name.startswith(self.section) else None

    def _default(self, value: Json) -> Json:
        """An equation of a field, or a plain value."""
        return self._equation(value) if isinstance(value, str) else value

    def _equation(self, text: str) -> str:
        """The same equation, rule or default with every setting under its other name."""

        def other(found: re.Match[str]) -> str:
            return (self._field(found[0]) if found[0] in known else None) or found[0]

        known = _settings(self.page)
        pieces = _QUOTED.split(text)
        return "".join(p if place % 2 else _NAME.sub(other, p) for place, p in enumerate(pieces))

    def _is_own(self, rule: str) -> bool:
        return all(self._field(name) for name in _NAME.findall(rule) if name in _settings(self.page))


def _without(page: PageDocument, section: str, prefix: str) -> PageDocument:
    """The rest of a page without one part."""
    rest: dict[str, object] = {}
    for key in TABLES:
        rest[key] = {
            name: value
            for name, value in _table(page, key).items()
            if not name.startswith((section, prefix))
            and not (key == "aliases" and str(value).startswith(section))
        }
    rest["rules"] = [r for r in page.get("rules", ()) if section not in r]
    rest["layouts"] = {
        layout: {text: shape for text, shape in own.items() if not text.startswith(prefix)}
        for layout, own in page.get("layouts", {}).items()
    }
    return cast("PageDocument", rest)


def _table(page: PageDocument, key: str) -> JsonObject:
    return cast("JsonObject", page.get(key, {}))


def _settings(page: PageDocument) -> frozenset[str]:
    return frozenset(_table(page, "fields")) | frozenset(_table(page, "unverifiable"))


def read_settings(page: PageDocument) -> frozenset[str]:
    """The settings that a shape, a count, a rule or a default of the page reads."""
    read = {**page, "fields": dict(enumerate(_table(page, "fields").values()))}
    return _settings(page) & _names(cast("PageDocument", read))


def stem_of(page: PageDocument, built_by: str | None) -> str | None:
    """What the names begin with, in a type's page, of what an automatic class builds of it; None where it is not told.

    built_by: the class that builds the model with its head; any other, or None, the body alone.
    """
    if built_by == WITH_HEAD:
        return ""
    stems = (ours for rewrites in page.get("spellings", ()) for disk, ours in rewrites.items() if not disk)
    return next(stems, None)


def _names(page: PageDocument) -> set[str]:
    """Every name that an equation of the page reads."""
    tables = [_table(page, key) for key in ("tensors", "optional", "computed", "lists", "fields")]
    tables += [cast("JsonObject", own) for own in page.get("layouts", {}).values()]
    texts = [text for table in tables for entry in table.items() for text in map(str, entry)]
    return {name for text in [*texts, *page.get("rules", ())] for name in _NAME.findall(text)}


def _product(
    ours: Mapping[str, Equations], theirs: Mapping[str, Equations]
) -> dict[str, dict[str, str | list[str]]]:
    """The layouts of a page whose rest has some and whose part has others: each with each."""
    return {
        f"{a} {b}".strip(): {**ours.get(a, {}), **theirs.get(b, {})}
        for a in (ours or {"": {}})
        for b in (theirs or {"": {}})
        if ours or theirs
    }
