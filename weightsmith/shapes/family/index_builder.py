"""Makes the index of names from every page of the catalog."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from weightsmith.shapes.family.family_index import FamilyIndex
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.page import catalog_types, load_page
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.solve.equations import zeroable_fields
from weightsmith.shapes.solve.fit import by_default

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.pattern import TensorPattern
    from weightsmith.shapes.page.spellings import Spelling


def build_index() -> FamilyIndex:
    """Reads every page of the catalog."""
    families: list[tuple[str, str]] = []
    always: dict[str, list[int]] = {}
    maybe: dict[str, list[int]] = {}
    usual: dict[str, list[int]] = {}
    spellings: dict[Spelling, None] = {}
    for model_type in catalog_types():
        page = load_page(model_type)
        defaults = Stated(None, page).completed()
        spellings |= dict.fromkeys(page.spellings)
        for patterns in page.layouts.values():
            certain, possible = _names(patterns, zeroable_fields(page))
            certain -= (optional := _of_optional_parts(page, possible))
            possible |= set(page.unexpressed)
            for name in sorted(certain):
                always.setdefault(name, []).append(len(families))
            for name in sorted(possible - certain):
                maybe.setdefault(name, []).append(len(families))
            expected = {p.key for p in patterns if p.required and not p.copy_of and by_default(p, defaults)}
            for name in sorted(expected - certain - optional):
                usual.setdefault(name, []).append(len(families))
            families.append((model_type, _signature(page, patterns)))
    return FamilyIndex(
        tuple(families),
        {name: tuple(always[name]) for name in sorted(always)},
        {name: tuple(maybe[name]) for name in sorted(maybe)},
        {name: tuple(usual[name]) for name in sorted(usual)},
        tuple(spellings),
    )


def _names(patterns: Iterable[TensorPattern], zeroable: frozenset[str]) -> tuple[set[str], set[str]]:
    """(names that every checkpoint has, names that some have). An index that may run over nothing is no certainty."""
    certain: set[str] = set()
    possible: set[str] = set()
    for pattern in patterns:
        possible.add(pattern.key)
        always = any(variant.condition is None for variant in pattern.variants)
        empty = any(slot.count.fields() & zeroable for slot in pattern.slots)
        counted = [
            slot for slot in pattern.slots if slot.count.known() is None
        ]  # `{block:12}` is always there
        if pattern.required and always and len(counted) < 2 and not empty:
            certain.add(pattern.key)
    return certain, possible


def _of_optional_parts(page: Page, names: Iterable[str]) -> set[str]:
    """Those that a config may do without, and that the class's own does without."""
    starts = tuple(name_key(start) for own in page.parts.values() for start in own)
    return {name for name in names if name.startswith(starts)}


def _signature(page: Page, patterns: Iterable[TensorPattern]) -> str:
    """Equal for families whose tensors have the same names, equations and conditions, whatever their defaults are."""
    lines = [
        f"{p.text} {p.required} {[(v.texts, v.condition and v.condition.text) for v in p.variants]}"
        for p in patterns
    ]
    text = "\n".join(sorted(lines)) + ("custom" if page.custom_code else "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]
