"""A family page: the tensors a model family has, as forward shape equations over its config fields.

    "model.layers.{layer:num_hidden_layers}.self_attn.q_proj.weight": "num_attention_heads * head_dim, hidden_size"
    "model.layers.{layer:num_hidden_layers}.self_attn.q_proj.bias":   "num_attention_heads * head_dim if attention_bias"

`{slot:count}` stands for an index that runs from 0 to count - 1; `{count}` is the same without a name for it.
A list of several shapes, each with its condition, is a tensor whose shape depends on a flag.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from weightsmith.errors import InvalidPage
from weightsmith.shapes.page.expression import (
    Condition,
    Polynomial,
    evaluate_default,
    parse_condition,
    parse_polynomial,
)
from weightsmith.shapes.page.field_names import owner_of
from weightsmith.shapes.page.inclusion import whole
from weightsmith.shapes.page.layouts import other_layouts, stored_layouts
from weightsmith.shapes.page.list_spellings import ListSpelling, parse_list_spelling
from weightsmith.shapes.page.page_file import read_file
from weightsmith.shapes.page.pattern import (
    TensorPattern,
    patterns_of,
    text_key,
)
from weightsmith.shapes.page.spellings import Spelling, best
from weightsmith.shapes.page.value import freeze

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.page_file import PageDocument
    from weightsmith.shapes.page.value import Value

# Pages that the learner makes lie in the folder itself. Below it lie in BY_HAND those that people wrote, and in
# PART_PAGES those of parts that several types have, such as a vision tower, and that are no model.
CATALOG = Path(__file__).parent.parent / "catalog"
BY_HAND, PART_PAGES = "by_hand", "parts"
# Model type → part of a name in memory → what its page has there (learn/memory_names makes it).
MEMORY_NAMES = Path(__file__).parent / "memory_names.json"
# Model type → spellings that vLLM takes beside, each as above (learn/engine_names makes it).
ENGINE_NAMES = Path(__file__).parent / "engine_names.json"
# No type is as long; a word that is may not cost more to compare.
_LONGEST_TYPE = 100
_DIVISOR = re.compile(r"(.+?) % ([\w.]+) == 0")

_T = TypeVar("_T")
Divisors: TypeAlias = tuple[tuple[Polynomial, str], ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A config field that shapes depend on. The class default is a value or an expression of other fields."""

    name: str
    value: Value
    expression: str | None

    def default(self, values: Mapping[str, Value]) -> Value:
        """The class default in a config with these values; None where it is computed from ones that are unknown."""
        return self.value if self.expression is None else evaluate_default(self.expression, values)


@dataclass(frozen=True, slots=True)
class Computed:
    """A field that the reference implementation computes from others, in configs that state `when_configured`."""

    value: Polynomial
    when_configured: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """One family. `layouts` are the ways it is stored on disk: alternatives with the same fields.

    custom_code: the reference implementation travels with checkpoints instead of lying in transformers.
    rules: what holds in every valid config. lists: config lists whose length the fields determine. unverifiable:
    fields that no shape depends on, with their class defaults. choices: every value that the implementation
    accepts for a string field, or for the items of a list field. base: what a small config needs to be built.
    unexpressed: tensors (digit-free names) or fields that no equation of the page explains → why. spellings:
    other names that checkpoints of the family have for the same tensors; aliases: that configs have for the same
    fields; list_spellings: other ways in which configs say its lists. parts: section of the config that may be null →
    what the names of the tensors begin with that are built from it. yielding: aliases that count only where the field
    itself is not stated; the others count before it.
    """

    model_type: str
    architectures: tuple[str, ...]
    source: str
    custom_code: bool
    fields: Mapping[str, Field]
    unverifiable: Mapping[str, Value]
    rules: tuple[Condition, ...]
    computed: Mapping[str, Computed]
    lists: Mapping[str, Polynomial]
    layouts: Mapping[str, tuple[TensorPattern, ...]]
    choices: Mapping[str, tuple[Value, ...]]
    base: JsonObject
    unexpressed: Mapping[str, str]
    spellings: tuple[Spelling, ...]
    aliases: Mapping[str, str]
    list_spellings: tuple[ListSpelling, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    yielding: frozenset[str] = frozenset()

    @property
    def keys(self) -> frozenset[str]:
        """The digit-free names of its tensors, of every layout."""
        return frozenset(pattern.key for patterns in self.layouts.values() for pattern in patterns)

    def reading(self, names: Collection[str]) -> tuple[Spelling | None, frozenset[str]]:
        """(the spelling under which most of these digit-free names are the page's, the names as it reads them)."""
        spelling = best(self.spellings, names, self.keys)
        return spelling, frozenset(map(spelling.read, names) if spelling else names)

    def without_part(self, section: str) -> Page:
        """The page of a model whose config leaves out one of the `parts`: what is built from it, and its settings."""
        starts = self.parts[section]
        owned = f"{section}."
        return replace(
            self,
            fields=_outside(owned, self.fields),
            unverifiable=_outside(owned, self.unverifiable),
            rules=tuple(r for r in self.rules if not any(name.startswith(owned) for name in r.names)),
            computed=_outside(owned, self.computed),
            lists=_outside(owned, self.lists),
            layouts={
                layout: tuple(p for p in patterns if not p.text.startswith(starts))
                for layout, patterns in self.layouts.items()
            },
            choices=_outside(owned, self.choices),
            base=_outside(owned, self.base),
            aliases={alias: name for alias, name in self.aliases.items() if not name.startswith(owned)},
            list_spellings=tuple(s for s in self.list_spellings if not s.field.startswith(owned)),
            parts={other: names for other, names in self.parts.items() if other != section},
        )

    @property
    def divisors(self) -> Divisors:
        """(polynomial, field) of each rule `polynomial % field == 0`: they spare the solver most of its search."""
        found = (_DIVISOR.fullmatch(rule.text) for rule in self.rules)
        return tuple((parse_polynomial(rule[1]), rule[2]) for rule in found if rule)


def _outside(owned: str, table: Mapping[str, _T]) -> dict[str, _T]:
    return {name: value for name, value in table.items() if not name.startswith(owned)}


@cache
def load_page(model_type: str) -> Page:
    """A page of the catalog. Raises InvalidPage when it is absent or malformed."""
    page = as_transformers_takes_it(model_type)
    by_engines = (Spelling.of(rewrites) for rewrites in _engine_names().get(model_type, ()))
    return replace(page, spellings=(*page.spellings, *by_engines))


def as_transformers_takes_it(model_type: str) -> Page:
    """The page with the names and layouts that transformers loads. Raises InvalidPage when it is absent."""
    known = stored_layouts()
    wholes, ends = known.joined.get(model_type, {}), known.turned.get(model_type, ())
    return as_loaders_take_it(parse_page(page_document(model_type)), wholes, ends)


@cache
def page_document(model_type: str) -> PageDocument:
    """A page of the catalog, with what its file leaves to others. Raises InvalidPage when it is absent."""
    if model_type not in catalog_types():
        known = ", ".join(_nearest_first(model_type))
        way_out = f"known ones, nearest first: {known}"
        raise InvalidPage(model_type, "is not a family of the catalog", way_out)
    return whole(read_file(page_text(model_type), f"page {model_type}"), included_document)


@cache
def included_document(name: str) -> PageDocument:
    """What a page may include: the page of a part that several types have, or of a type. Raises InvalidPage."""
    part = CATALOG / PART_PAGES / f"{name}.json"
    if not part.exists():
        return page_document(name)
    return read_file(part.read_text(encoding="utf-8"), f"page {name}")


def _nearest_first(model_type: str) -> list[str]:
    """The types of the catalog in the order in which somebody may have meant them who wrote `model_type`."""
    written = SequenceMatcher(b=model_type[:_LONGEST_TYPE])

    def alike(known: str) -> float:
        written.set_seq1(known)
        return -written.ratio()

    return sorted(catalog_types(), key=alike)


def as_loaders_take_it(page: Page, wholes: Mapping[str, Sequence[str]], ends: Sequence[str]) -> Page:
    """The page with what loaders take beside what transformers writes: names in memory, and other layouts.

    wholes, ends: as `other_layouts` takes them.
    """
    layouts = {**page.layouts, **other_layouts(page.layouts, wholes, ends)}
    return replace(page, spellings=(*page.spellings, *_in_memory(page)), layouts=layouts)


def _in_memory(page: Page) -> tuple[Spelling, ...]:
    """The names that transformers has in memory, where it saves others; some tools save those.

    Versions before have a tower under the prefix that it was published under, in memory, too.
    """
    rewrites = _memory_names().get(page.model_type)
    if not rewrites:
        return ()
    memory = Spelling.of(rewrites)
    older = (s for s in page.spellings if not s.stem)
    return (memory, *(Spelling((*memory.rewrites, *s.rewrites)) for s in older))


@cache
def _memory_names() -> dict[str, dict[str, str]]:
    return cast("dict[str, dict[str, str]]", json.loads(MEMORY_NAMES.read_text(encoding="utf-8")))


@cache
def _engine_names() -> dict[str, list[dict[str, str]]]:
    return cast("dict[str, list[dict[str, str]]]", json.loads(ENGINE_NAMES.read_text(encoding="utf-8")))


def part_types() -> tuple[str, ...]:
    """The types of parts that have a page in the catalog and are no model, sorted."""
    return tuple(sorted(path.stem for path in (CATALOG / PART_PAGES).glob("*.json")))


@cache
def catalog_types() -> tuple[str, ...]:
    """The model types that have a page, sorted."""
    return tuple(sorted((*learned_types(CATALOG), *by_hand_types(CATALOG))))


def learned_types(catalog: Path) -> tuple[str, ...]:
    """The types of a catalog whose pages the learner made, sorted."""
    return tuple(sorted(path.stem for path in catalog.glob("*.json")))


def by_hand_types(catalog: Path) -> tuple[str, ...]:
    """The types of a catalog whose pages people wrote, sorted."""
    return tuple(sorted(path.stem for path in (catalog / BY_HAND).glob("*.json")))


def page_text(model_type: str) -> str:
    """A page of the catalog as its file has it. Raises FileNotFoundError."""
    name = f"{model_type}.json"
    written = CATALOG / BY_HAND / name
    return (written if written.exists() else CATALOG / name).read_text(encoding="utf-8")


def parse_page(document: PageDocument | JsonObject) -> Page:
    """The page that a JSON object describes; docs/families.md describes the keys. Raises InvalidPage."""
    data = cast("PageDocument", document)
    copies = data.get("copies", {})
    shared = patterns_of(data.get("tensors", {}), copies, required=True)
    shared += patterns_of(data.get("optional", {}), copies, required=False)
    layouts = {
        name: shared + patterns_of(own, copies, required=True)
        for name, own in data.get("layouts", {}).items()
    }
    page = Page(
        model_type=data["model_type"],
        architectures=tuple(data.get("architectures", ())),
        source=data.get("source", ""),
        custom_code=bool(data.get("custom_code", False)),
        fields={name: _field(name, default) for name, default in data.get("fields", {}).items()},
        unverifiable={name: freeze(value) for name, value in data.get("unverifiable", {}).items()},
        rules=tuple(parse_condition(text) for text in data.get("rules", ())),
        computed={name: _computed(text) for name, text in data.get("computed", {}).items()},
        lists={name: parse_polynomial(text) for name, text in data.get("lists", {}).items()},
        layouts=layouts or {"": shared},
        choices={name: tuple(map(freeze, values)) for name, values in data.get("choices", {}).items()},
        base=dict(data.get("base", {})),
        unexpressed=_unexpressed(data),
        spellings=tuple(map(Spelling.of, data.get("spellings", ()))),
        aliases=dict(data.get("aliases", {})),
        list_spellings=tuple(map(parse_list_spelling, data.get("list_spellings", ()))),
        yielding=frozenset(data.get("yielding", ())),
        parts={section: tuple(starts) for section, starts in data.get("parts", {}).items()},
    )
    _check_names(page)
    return page


def _unexpressed(data: PageDocument) -> dict[str, str]:
    """Digit-free names, as those of a checkpoint are looked up, in whatever way the file writes them."""
    fields = data.get("fields", {})
    said = data.get("unexpressed", {})
    return {(name if name in fields else text_key(name)): why for name, why in said.items()}


def _field(name: str, default: Json) -> Field:
    if isinstance(default, str) and default.startswith("="):
        return Field(name, None, default[1:].strip())
    return Field(name, freeze(default), None)


def _computed(text: str) -> Computed:
    value, _, guard = text.partition(" if ")
    configured = re.fullmatch(r"configured\(([\w.]+)\)", guard.strip())
    if guard and not configured:
        raise InvalidPage(repr(text), "has an unknown guard", "write `if configured(field)`")
    return Computed(parse_polynomial(value), configured[1] if configured else None)


def _check_names(page: Page) -> None:
    """Every name in an equation is a field of the page or a slot of its own pattern."""
    for pattern in (pattern for layout in page.layouts.values() for pattern in layout):
        slots = {slot.name for slot in pattern.slots}
        counts = [slot.count for slot in pattern.slots]
        for variant in pattern.variants:
            used = set().union(*(axis.fields() for axis in (*variant.shape, *counts)))
            used |= variant.condition.names if variant.condition else set()
            _refuse_unknown(page, pattern.text, used - slots)
    for name, length in page.lists.items():
        _refuse_unknown(page, name, length.fields())
    for name, computed in page.computed.items():
        _refuse_unknown(page, name, computed.value.fields() - set(page.unverifiable))
    for rule in page.rules:
        _refuse_unknown(page, rule.text, rule.names)


def _refuse_unknown(page: Page, where: str, names: Iterable[str]) -> None:
    unknown = sorted({owner_of(name) for name in names} - set(page.fields) - set(page.unverifiable))
    if unknown:
        raise InvalidPage(
            f"page {page.model_type}", f"{where!r} uses {', '.join(unknown)}", "declare it under `fields`"
        )
