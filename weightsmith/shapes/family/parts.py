"""A part of a model of several, stored alone: the text model taken out of a vision-language one, or its tower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.checkpoint.config_file import CONFIG
from weightsmith.shapes.family.no_model import NoModel
from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.page.composition import inner_parts
from weightsmith.shapes.page.page import catalog_types, load_page
from weightsmith.shapes.page.pattern import name_key

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.given.roles import NameTable
    from weightsmith.shapes.page.composition import InnerPart
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.solve.fit import Fit

_TEXT = "text_config"


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The config of a text model that was a part: its settings on the top, those of other parts gone.

    model_type: of the text class; None where only the tensors can tell it. gone: the sections that it has no more.
    """

    config: JsonObject
    model_type: str | None
    gone: tuple[str, ...]

    def named(self, model_type: str, architectures: Collection[str]) -> TextConfig:
        """The config of the class that the tensors told."""
        words: JsonObject = {"architectures": list(architectures)[:1], "model_type": model_type}
        return TextConfig({**self.config, **words}, model_type, self.gone)


def text_config(config: JsonObject | None, claimed: str | None) -> TextConfig | None:
    """The text part's own config; None where the config is not that of a model with a text part.

    claimed: the type of the whole model.
    """
    part = inner_parts().get(claimed or "", {}).get(_TEXT)
    inner = (config or {}).get(_TEXT)
    if config is None or part is None or not isinstance(inner, dict):
        return None
    stated = inner.get("model_type", part.model_type)
    known = stated if isinstance(stated, str) and stated in catalog_types() else None
    gone = tuple(
        name for name, value in config.items() if _is_part(value) or name in inner_parts()[str(claimed)]
    )
    rest = {name: value for name, value in config.items() if name not in gone}
    # Of a model of several parts the top-level word counts.
    tied = {"tie_word_embeddings": rest["tie_word_embeddings"]} if "tie_word_embeddings" in rest else {}
    flat: dict[str, Json] = {"architectures": [], "model_type": None}
    flat |= {name: value for name, value in {**rest, **inner, **tied}.items() if name not in flat}
    found = TextConfig(flat, None, gone)
    return found if known is None else found.named(known, load_page(known).architectures)


def _is_part(value: Json) -> bool:
    """Whether a setting is a config of its own."""
    return isinstance(value, dict) and "model_type" in value


def text_part_problem(config: JsonObject, text: TextConfig) -> Problem:
    """Says that the config is of more than is stored."""
    message = (
        f"only the text part of {config.get('model_type')} is stored: its config is that of {text.model_type}"
    )
    return Problem("text-part", message, file=CONFIG)


def is_hollow(found: Fit) -> bool:
    """Whether a model of several parts is read in a layout that lacks one of them: then the others stand alone."""
    patterns = found.page.layouts[found.layout]
    parts = (
        part
        for section, part in inner_parts().get(found.page.model_type, {}).items()
        if _has(found.page, section)
    )
    return any(not any(p.text.startswith(part.prefix) for p in patterns) for part in parts)


def _has(page: Page, section: str) -> bool:
    """Whether a page reads settings of a section: it is not that of a model whose config leaves the section out."""
    return any(name.startswith(f"{section}.") for name in page.fields)


def with_stored_parts(page: Page, names: Collection[str], config: JsonObject | None) -> Page:
    """The page without those of its optional parts that the config does not state and of which no tensor is there.

    names: digit-free, as the page reads them.
    """
    for section, starts in page.parts.items():
        keys = tuple(map(name_key, starts))
        if lookup(config, section)[1] is None and not any(name.startswith(keys) for name in names):
            page = page.without_part(section)
    return page


def tower_alone(table: NameTable) -> NoModel | None:
    """Says that all tensors are of one tower of some model, under its name there; None where they are not."""
    towers = (
        (model_type, section, part)
        for model_type, parts in inner_parts().items()
        for section, part in parts.items()
        if section != _TEXT and all(key.startswith(name_key(part.prefix)) for key in table.by_key)
    )
    return next((_alone(model_type, section, part) for model_type, section, part in towers), None)


def lost_parts(table: NameTable, config: JsonObject | None, page: Page) -> NoModel | None:
    """What is said of a model of several parts of which some are lost whole; None where none is.

    config: of the whole; a part that is null in it is not expected, nor is one that it may leave out and does. page: of
    the whole; a part that some setting switches off is not lost. Names alone tell.
    """
    _, names = page.reading(table.by_key.keys())
    parts = {s: p for s, p in inner_parts().get(page.model_type, {}).items() if _expects(config, s, page)}
    stored = {s for s, part in parts.items() if any(_stands_under(n, part, parts) for n in names)}
    lost = {s: p for s, p in parts.items() if s not in stored and not _is_switched(p, page)}
    if not stored or not lost or 2 * len(names & page.keys) < len(names):
        return None
    if stored == {_TEXT}:
        return _without_others(page.model_type, parts[_TEXT], lost)
    single = next(iter(stored))
    if len(stored) == 1 and all(_stands_under(name, parts[single], parts) for name in names):
        return _alone(page.model_type, single, parts[single])
    return None


def _expects(config: JsonObject | None, section: str, page: Page) -> bool:
    found, stated = lookup(config, section)
    return stated is not None or (not found and section not in page.parts)


def _is_switched(part: InnerPart, page: Page) -> bool:
    """Whether settings decide if a part is built at all: none of its tensors is in every model of the family."""
    every = (pattern for patterns in page.layouts.values() for pattern in patterns if pattern.required)
    shapes = [
        variant for pattern in every if pattern.text.startswith(part.prefix) for variant in pattern.variants
    ]
    return bool(shapes) and all(variant.condition is not None for variant in shapes)


def _without_others(model_type: str, text: InnerPart, lost: Mapping[str, InnerPart]) -> NoModel:
    named = " and ".join(f"{section} ({part.model_type})" for section, part in lost.items())
    message = (
        f"only the text part of {model_type} is stored, under {text.prefix!r}: the part of {named} is lost"
    )
    way_out = f"download the rest, or save the text part alone, its names without {text.prefix!r}"
    return NoModel(Problem("part-alone", message), way_out)


def _stands_under(name: str, part: InnerPart, parts: Mapping[str, InnerPart]) -> bool:
    """Whether a name is of a part: of several prefixes that it begins with, the longest counts."""
    prefixes = [name_key(other.prefix) for other in parts.values() if name.startswith(name_key(other.prefix))]
    return bool(prefixes) and max(prefixes, key=len) == name_key(part.prefix)


def _alone(model_type: str, section: str, part: InnerPart) -> NoModel:
    kind = "vision tower" if "vision" in section else section.removesuffix("_config").replace("_", " ")
    text = f"the {kind} alone ({part.model_type}, as in {model_type}), without the rest of the model"
    return NoModel(Problem("part-alone", text), "download the shards that have the rest")
