"""Other names for the same tensors: what loaders take and the reference implementation no longer writes.

Published checkpoints keep the names of the day they were written: an inner prefix that was dropped since
(`vision_tower.vision_model.`), ends that were renamed (`LayerNorm.gamma`), or no prefix at all, where the body of a
model was saved without its head (`h.0.attn…` of GPT-2). A page lists such spellings; a checkpoint is read in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Set


@dataclass(frozen=True, slots=True)
class Spelling:
    """rewrites: (part of a name on disk, what the page has there). A part that ends with a dot begins names, one
    that begins with a dot ends them. stem: for a body that was saved alone, what its names lack; "" otherwise."""

    rewrites: tuple[tuple[str, str], ...]

    @staticmethod
    def of(rewrites: Mapping[str, str]) -> Spelling:
        return Spelling(tuple(rewrites.items()))

    @property
    def stem(self) -> str:
        return next((ours for disk, ours in self.rewrites if not disk), "")

    def read(self, name: str) -> str:
        """The page's name (or digit-free name) for one on disk."""
        for disk, ours in self.rewrites:
            if disk.startswith("."):
                if name.endswith(disk):
                    name = name.removesuffix(disk) + ours
            elif name.startswith(disk):
                name = ours + name.removeprefix(disk)
        return name

    def write(self, name: str) -> str:
        """The name on disk for one of the page's: what `read` undoes."""
        return Spelling(tuple((ours, disk) for disk, ours in reversed(self.rewrites))).read(name)

    def applies(self, names: Collection[str]) -> bool:
        """Whether the names look so: some part is there (a tied head may not be), and a body's stem is nowhere."""
        return any(_has(name, disk) for disk, _ in self.rewrites for name in names) and not (
            self.stem and any(name.startswith(self.stem) for name in names)
        )


def _has(name: str, part: str) -> bool:
    return name.endswith(part) if part.startswith(".") else name.startswith(part)


def best(spellings: Iterable[Spelling], names: Collection[str], known: Set[str]) -> Spelling | None:
    """The spelling under which most names are known ones; None where that is so of the names as they are."""
    found, most = None, sum(name in known for name in names)
    for spelling in spellings if most < len(names) else ():
        if spelling.applies(names):
            hits = sum(spelling.read(name) in known for name in names)
            if hits > most:
                found, most = spelling, hits
    return found
