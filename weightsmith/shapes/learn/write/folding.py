"""Tensors that are the same but for a number become one pattern: a tower that a library has fixed the depth of.

timm builds the stages of FastViT with as many blocks as each has, whatever a config says, so that no field counts them
and every block was a line of the page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.names import slot_word

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from weightsmith.shapes.learn.write.learned_page import TensorTexts

_INDEX = re.compile(r"(?<=\.)[0-9]+(?=\.)")
_SLOT = re.compile(r"\{[^{}]*\}")
# Three modules in a row may be three of another kind each, as in the layers of T5.
_LEAST = 4


def folded(tensors: TensorTexts, apart: Collection[str]) -> TensorTexts:
    """The same tensors, those in a run from 0 on that have one shape under one name with a slot: `{block:12}`.

    apart: names that stay, as another table of the page says something of them.
    """
    while True:
        whole = dict(_runs({name: shape for name, shape in tensors.items() if name not in apart}))
        if not whole:
            return tensors
        once: dict[str, str | list[str]] = {}
        for name, shape in tensors.items():
            once.setdefault(whole.get(name, name), shape)
        tensors = once


def _runs(tensors: TensorTexts) -> Iterator[tuple[str, str]]:
    """(name, the name with a slot) of what can be folded at once, the longest runs first."""
    taken: set[str] = set()
    for (before, after, _), members in sorted(_alike(tensors).items(), key=lambda one: -len(one[1])):
        is_run = members.keys() == set(range(len(members))) and len(members) >= _LEAST
        if is_run and taken.isdisjoint(members.values()):
            taken |= set(members.values())
            name = f"{before}{{{_slot(before, after)}:{len(members)}}}{after}"
            yield from dict.fromkeys(members.values(), name).items()


def _alike(tensors: TensorTexts) -> Mapping[tuple[str, str, str], dict[int, str]]:
    """(what stands before a number, what behind it, the shape) → number → the name with it."""
    found: dict[tuple[str, str, str], dict[int, str]] = {}
    for name, shape in tensors.items():
        for number in _INDEX.finditer(_SLOT.sub(lambda slot: "#" * len(slot[0]), name)):
            key = name[: number.start()], name[number.end() :], str(shape)
            found.setdefault(key, {})[int(number[0])] = name
    return found


def _slot(before: str, after: str) -> str:
    name = slot_word(re.findall(r"[A-Za-z_]+", before))
    while f"{{{name}:" in before + after:
        name += "_"
    return name
