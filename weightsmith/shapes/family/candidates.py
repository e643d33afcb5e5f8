"""Which families a checkpoint could be of, from its digit-free names alone, by the index over the whole catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.given.draft_layers import is_buffer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.shapes.family.family_index import FamilyIndex

# Where no tensor decides, the family that others were built after stands for them.
WELL_KNOWN = (
    "llama", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "deepseek_v3", "mixtral", "phi3", "gemma2", "gemma3_text",
    "gpt2", "gpt_neox", "olmo2", "bert", "roberta", "t5", "bart", "mamba", "llava", "qwen2_vl", "qwen2_5_vl",
)  # fmt: skip


def candidates(names: Iterable[str], index: FamilyIndex, stem: str = "") -> dict[str, tuple[int, int]]:
    """Model types that could explain the digit-free `names`, the best first, and how much contradicts each.

    (names that are not the family's or that it never lacks, names that its class defaults have and that are
    absent). The first is 0 where the family may explain all names. stem: only names that begin so are expected.
    """
    present = {name for name in names if name in index.always or not is_buffer(name)}
    matched: dict[int, int] = {}
    lacking, unusual = index.expected(stem)
    for name in present:
        for family in index.always.get(name, ()):
            matched[family] = matched.get(family, 0) + 1
            lacking[family] -= 1
        for family in index.maybe.get(name, ()):
            matched[family] = matched.get(family, 0) + 1
        for family in index.usual.get(name, ()):
            unusual[family] -= 1
    best: dict[str, tuple[int, int]] = {}
    for family, hits in matched.items():
        model_type = index.families[family][0]
        misses = len(present) - hits + lacking[family]
        if 2 * hits >= misses:
            found = misses, unusual[family]
            best[model_type] = min(best.get(model_type, found), found)
    return {t: best[t] for t in sorted(best, key=lambda t: (best[t], rank(t)))}


def grouped_by_equations(model_types: Iterable[str], index: FamilyIndex) -> dict[str, tuple[str, ...]]:
    """The types, those with the same equations under the one that stands for them."""
    signatures: dict[str, tuple[str, ...]] = {}
    for model_type, signature in index.families:
        signatures[model_type] = (*signatures.get(model_type, ()), signature)
    groups: dict[tuple[str, ...], list[str]] = {}
    for model_type in model_types:
        groups.setdefault(signatures.get(model_type, (model_type,)), []).append(model_type)
    ordered = (sorted(group, key=rank) for group in groups.values())
    return {group[0]: tuple(group[1:]) for group in ordered}


def rank(model_type: str) -> tuple[int, str]:
    """An order that does not depend on the catalog: the well-known first, then by name."""
    known = WELL_KNOWN.index(model_type) if model_type in WELL_KNOWN else len(WELL_KNOWN)
    return known, model_type
