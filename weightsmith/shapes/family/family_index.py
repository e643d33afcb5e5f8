"""The index of names: which families have a tensor of a digit-free name, over all pages of the catalog."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from weightsmith.shapes.page.spellings import Spelling


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
