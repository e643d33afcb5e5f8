"""Other layouts of the same weights: experts joined in one tensor, the other way round, or one by one.

A page has the layout that transformers writes. What it holds in memory has others, and so have files that were written
by its earlier versions or by engines. Which ones a family's loaders take is learned from the conversions of
transformers (weightsmith.shapes.learn.memory_names); here a page's patterns are rewritten for each of them, so that a
checkpoint is read, counted and told in its own names and shapes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from weightsmith.shapes.page.expression import Polynomial
from weightsmith.shapes.page.pattern import SLOT, Slot, TensorPattern, Variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.json_value import JsonObject

Patterns: TypeAlias = tuple[TensorPattern, ...]
TABLE = Path(__file__).parent / "stored_layouts.json"
# A tensor of experts: which, and the two axes of the matrix of each.
_STACK = 3
# What the names of further layouts end with.
_JOINED, _TURNED, _SINGLE = "joined", "turned", "one by one"


@dataclass(frozen=True, slots=True)
class StoredLayouts:
    """What loaders take beside the layout of the pages. Names have `{}` for an index.

    joined: model type → name of a tensor in memory → the tensors of the page that it is made of. turned: model type →
    tensors whose matrices may lie the other way round. parts: end of a joined tensor's name → the ends of the tensors
    of one expert.
    """

    joined: Mapping[str, Mapping[str, tuple[str, ...]]]
    turned: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, tuple[str, ...]]

    def document(self) -> JsonObject:
        return {
            "joined": {t: {n: list(p) for n, p in names.items()} for t, names in self.joined.items()},
            "turned": {t: list(names) for t, names in self.turned.items()},
            "parts": {end: list(ends) for end, ends in self.parts.items()},
        }


@cache
def stored_layouts() -> StoredLayouts:
    """The table that is committed."""
    data = cast("dict[str, dict[str, object]]", json.loads(TABLE.read_text(encoding="utf-8")))
    joined = cast("dict[str, dict[str, list[str]]]", data["joined"])
    turned, parts = (cast("dict[str, list[str]]", data[key]) for key in ("turned", "parts"))
    return StoredLayouts(
        {t: {name: tuple(made_of) for name, made_of in names.items()} for t, names in joined.items()},
        {t: tuple(names) for t, names in turned.items()},
        {end: tuple(ends) for end, ends in parts.items()},
    )


def written_as(layout: str) -> str:
    """The layout of a page's own that a further one was made of; itself where it is the page's own."""
    made = next((kind for kind in (_JOINED, _TURNED, _SINGLE) if layout.endswith(kind)), "")
    return layout.removesuffix(made).rstrip()


def other_layouts(
    own: Mapping[str, Patterns], wholes: Mapping[str, Sequence[str]], ends: Sequence[str]
) -> dict[str, Patterns]:
    """Name → patterns of every further layout of a page that has the layouts `own`.

    wholes, ends: what `StoredLayouts` has of its type, as `joined` and `turned` take it.
    """
    made: dict[str, Patterns | None] = {}
    for name, patterns in own.items():
        made[f"{name} {_JOINED}".strip()] = joined(patterns, wholes)
        made[f"{name} {_TURNED}".strip()] = turned(patterns, ends)
        made[f"{name} {_SINGLE}".strip()] = one_by_one(patterns, stored_layouts().parts)
    return {name: patterns for name, patterns in made.items() if patterns is not None}


def joined(patterns: Patterns, wholes: Mapping[str, Sequence[str]]) -> Patterns | None:
    """The layout in which each of `wholes` stands in place of its parts; None where one of the parts is not there.

    A whole that has a `{}` fewer than its parts is a stack of these, the last index first; several parts lie side by
    side along their first axis. One part with as many is the same tensor under another name.
    """
    by_name = {blank(p.text): p for p in patterns}
    used = {part for parts in wholes.values() for part in parts}
    if not used or len(by_name) < len(patterns) or used - by_name.keys():
        return None
    made = [_joined(name, [by_name[part] for part in parts]) for name, parts in wholes.items()]
    whole = [pattern for pattern in made if pattern is not None]
    rest = (pattern for name, pattern in by_name.items() if name not in used)
    return (*rest, *whole) if len(whole) == len(made) else None


def turned(patterns: Patterns, names: Iterable[str]) -> Patterns | None:
    """The layout in which the last two axes of the tensors that end so are swapped; None where there are none."""
    ends = tuple(names)
    swapped = tuple(_swapped(p) if ends and blank(p.text).endswith(ends) else p for p in patterns)
    return swapped if swapped != patterns else None


def one_by_one(patterns: Patterns, parts: Mapping[str, Sequence[str]]) -> Patterns | None:
    """The layout in which joined experts are split; None where there are none."""
    made: list[TensorPattern] = []
    for pattern in patterns:
        end = next((end for end in parts if pattern.text.endswith(end)), None)
        ends = () if end is None else parts[end]
        split = [_split(pattern, str(end), other, len(ends), patterns) for other in ends]
        whole = [one for one in split if one is not None]
        made += whole if whole and len(whole) == len(ends) else [pattern]
    return tuple(made) if tuple(made) != patterns else None


def blank(text: str) -> str:
    """A pattern's text with `{}` for each index."""
    return SLOT.sub("{}", text)


def _joined(name: str, parts: Sequence[TensorPattern]) -> TensorPattern | None:
    """One tensor for these, or these under another name; None where they are of more than one kind."""
    if not parts:
        return None
    first = parts[0]
    stacked = len(first.slots) - name.count("{}")
    slots, inner = (first.slots[:-1], first.slots[-1]) if stacked == 1 else (first.slots, None)
    alike = all(p.slots == first.slots and len(p.variants) == len(first.variants) for p in parts)
    if not alike or stacked not in (0, 1):
        return None
    variants = []
    for same in zip(*(p.variants for p in parts), strict=True):
        condition, shape = same[0].condition, same[0].shape
        by_expert = inner is not None and any(inner.name in names for names in _names(same))
        if by_expert or not shape or any(v.condition != condition or v.shape[1:] != shape[1:] for v in same):
            return None
        rows = Polynomial.constant(0)
        for variant in same:
            rows = rows.plus(variant.shape[0])
        axes = (rows, *shape[1:])
        variants.append(_variant(axes if inner is None else (inner.count, *axes), same[0]))
    return _renamed(first, name, slots, variants)


def _names(variants: Iterable[Variant]) -> Iterable[frozenset[str]]:
    """The names that each shape, and each condition, reads."""
    for variant in variants:
        yield from (axis.fields() for axis in variant.shape)
        if variant.condition is not None:
            yield variant.condition.names


def _swapped(pattern: TensorPattern) -> TensorPattern:
    variants = tuple(
        _variant((*v.shape[:-2], v.shape[-1], v.shape[-2]), v) if len(v.shape) == _STACK else v
        for v in pattern.variants
    )
    return replace(pattern, variants=variants)


def _split(
    pattern: TensorPattern, end: str, part_end: str, parts: int, patterns: Patterns
) -> TensorPattern | None:
    """The tensors of single experts that one part of a joined tensor consists of.

    end: of the joined tensor's name. part_end: of a part's. parts: how many of them lie side by side. None where the
    shape does not divide so.
    """
    variants = []
    for variant in pattern.variants:
        matrix = _matrix(variant, parts, _widths(patterns))
        if matrix is None:
            return None
        variants.append(_variant(matrix, variant))
    name = blank(pattern.text).removesuffix(end) + part_end
    expert = Slot("expert", pattern.variants[0].shape[0])
    return _renamed(pattern, name, (*pattern.slots, expert), variants)


def _matrix(variant: Variant, parts: int, widths: frozenset[Polynomial]) -> tuple[Polynomial, ...] | None:
    """The shape of one part's matrix as a linear layer has it: outputs, then inputs.

    widths: the sizes of hidden states: inputs of the parts that lie side by side, outputs of one that stands alone.
    """
    if len(variant.shape) != _STACK:
        return None
    _, a, b = variant.shape
    if parts == 1:
        return (a, b) if a in widths else (b, a)
    outputs, inputs = (a, b) if b in widths else (b, a)
    share = _divided(outputs, parts)
    return None if share is None else (share, inputs)


def _widths(patterns: Patterns) -> frozenset[Polynomial]:
    """The sizes of vectors: norms, which are as wide as what goes through the layers."""
    return frozenset(
        v.shape[0] for p in patterns for v in p.variants if len(v.shape) == 1 and "norm" in p.text and p.slots
    )


def _divided(total: Polynomial, parts: int) -> Polynomial | None:
    if any(c % parts for _, c in total.terms):
        return None
    return Polynomial.of({monomial: c // parts for monomial, c in total.terms})


def _variant(shape: tuple[Polynomial, ...], like: Variant) -> Variant:
    return Variant(shape, tuple(map(str, shape)), like.condition)


def _renamed(
    pattern: TensorPattern, name: str, slots: Sequence[Slot], variants: Iterable[Variant]
) -> TensorPattern:
    """The pattern under another name, which has a `{}` for each slot."""
    literals = tuple(name.split("{}"))
    slotted = [f"{{{slot.name}:{slot.count}}}" for slot in slots]
    text = "".join(a + b for a, b in zip(literals, [*slotted, ""], strict=True))
    return replace(pattern, text=text, literals=literals, slots=tuple(slots), variants=tuple(variants))
