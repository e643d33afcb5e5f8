"""Which families a checkpoint could be of, from its digit-free names alone: an index over the whole catalog.

The index is made by `index_builder` (`make catalog`, or `python -m weightsmith.shapes.learn --index` after a page was
written by hand) and committed, so that finding the family of a checkpoint reads one small file and then only the
pages that could explain it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.shapes.given.draft_layers import is_buffer
from weightsmith.shapes.page.spellings import Spelling

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

INDEX = Path(__file__).parent / "families.json"
# Where no tensor decides, the family that others were built after stands for them.
WELL_KNOWN = (
    "llama", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "deepseek_v3", "mixtral", "phi3", "gemma2", "gemma3_text",
    "gpt2", "gpt_neox", "olmo2", "bert", "roberta", "t5", "bart", "mamba", "llava", "qwen2_vl", "qwen2_5_vl",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FamilyIndex:
    """families: (model type, signature); equal signatures have equal equations. always, maybe: name → families.

    `always` lists families whose checkpoints all have the name, `maybe` those where it depends on the config, and
    `usual` those of the latter whose class defaults have it. spellings: all that any page has.
    """

    families: tuple[tuple[str, str], ...]
    always: Mapping[str, tuple[int, ...]]
    maybe: Mapping[str, tuple[int, ...]]
    usual: Mapping[str, tuple[int, ...]]
    spellings: tuple[Spelling, ...]
    digest: str
    _expected: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def expected(self, stem: str) -> tuple[list[int], list[int]]:
        """Per family, how many names that begin so all of its checkpoints have, and those of class defaults beside."""
        if stem not in self._expected:
            always, usual = (self._counts(names, stem) for names in (self.always, self.usual))
            self._expected[stem] = tuple(always), tuple(usual)
        always_had, usually_had = self._expected[stem]
        return list(always_had), list(usually_had)

    def _counts(self, names: Mapping[str, tuple[int, ...]], stem: str) -> list[int]:
        counts = [0] * len(self.families)
        for name, families in names.items():
            if name.startswith(stem):
                for family in families:
                    counts[family] += 1
        return counts

    def knows(self, names: Collection[str]) -> bool:
        """Whether most of the names are of some family."""
        return 2 * self.known(names) > len(names)

    def known(self, names: Collection[str]) -> int:
        """How many of the names are of some family."""
        return sum(name in self.always or name in self.maybe for name in names)

    def known_in_any_spelling(self, names: Collection[str]) -> int:
        """How many of the names are of some family under the spelling that knows most of them."""
        applied = (spelling for spelling in self.spellings if spelling.applies(names))
        respelled = ({spelling.read(name) for name in names} for spelling in applied)
        return max([self.known(names), *map(self.known, respelled)])


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


@cache
def same_equations(model_type: str) -> tuple[str, ...]:
    """The types of the catalog with the equations of one, itself among them, the one that stands for them first."""
    groups = grouped_by_equations(dict(load_index().families), load_index())
    return next(((t, *same) for t, same in groups.items() if model_type in (t, *same)), (model_type,))


def rank(model_type: str) -> tuple[int, str]:
    """An order that does not depend on the catalog: the well-known first, then by name."""
    known = WELL_KNOWN.index(model_type) if model_type in WELL_KNOWN else len(WELL_KNOWN)
    return known, model_type


@cache
def load_index() -> FamilyIndex:
    data = json.loads(INDEX.read_text(encoding="utf-8"))
    return FamilyIndex(
        tuple((t, s) for t, s in data["families"]),
        {name: tuple(families) for name, families in data["always"].items()},
        {name: tuple(families) for name, families in data["maybe"].items()},
        {name: tuple(families) for name, families in data["usual"].items()},
        tuple(map(Spelling.of, data["spellings"])),
        data["digest"],
    )
