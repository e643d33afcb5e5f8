"""All tensors of one role: a name with indices in it, and the shapes that it may have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Condition, Polynomial, parse_condition, parse_polynomial

if TYPE_CHECKING:
    from collections.abc import Mapping

SLOT = re.compile(r"\{(?:(\w+):)?([^{}]+)\}")
_COMMA = re.compile(r",(?![^()]*\))")  # between axes, not inside min(a, b)
# An index in a tensor's name is written in ASCII digits. Python's \d, which takes those of every script, would read an
# index into a name that no framework writes.
DIGITS = re.compile(r"[0-9]+")
_INDEX = r"(0|[1-9][0-9]*)"


@dataclass(frozen=True, slots=True)
class Slot:
    """An index in a tensor's name; it takes every value below `count`."""

    name: str
    count: Polynomial


@dataclass(frozen=True, slots=True)
class Variant:
    """One shape that a tensor may have; `condition` None means always. `texts` are the axes as the page has them."""

    shape: tuple[Polynomial, ...]
    texts: tuple[str, ...]
    condition: Condition | None


@dataclass(frozen=True, slots=True)
class TensorPattern:
    """All tensors of one role. `required` False: its absence says nothing (old buffers).

    `copy_of` names the tensor that this one repeats when its condition does not hold (a tied head that was
    written all the same), so its presence says little.
    """

    text: str
    literals: tuple[str, ...]
    slots: tuple[Slot, ...]
    variants: tuple[Variant, ...]
    required: bool
    copy_of: str | None

    @property
    def key(self) -> str:
        """The name with every index and digit run as `#`: what a tensor's name is looked up by."""
        return text_key(self.text)

    @property
    def deciding(self) -> tuple[int, ...]:
        """The places of the slots whose indices existence or shape depend on."""
        read = frozenset[str]().union(
            *(v.condition.names for v in self.variants if v.condition),
            *(axis.fields() for v in self.variants for axis in v.shape),
        )
        return tuple(place for place, slot in enumerate(self.slots) if slot.name in read)

    @property
    def nested(self) -> bool:
        """Whether a slot counts by an outer one: `{stage:len(depths)}.blocks.{block:depths[stage]}`."""
        names = {slot.name for slot in self.slots}
        return any(names & slot.count.fields() for slot in self.slots)

    def name(self, indices: tuple[int, ...]) -> str:
        """The tensor's name with one index in each slot."""
        pieces = [self.literals[0]]
        for index, literal in zip(indices, self.literals[1:], strict=True):
            pieces += [str(index), literal]
        return "".join(pieces)

    def regex(self) -> re.Pattern[str]:
        """Matches exactly the names that `name` makes, with one group for each slot."""
        return re.compile(_INDEX.join(re.escape(literal) for literal in self.literals))


def name_key(name: str) -> str:
    """A tensor's name with every run of digits as `#`."""
    return DIGITS.sub("#", name)


def text_key(text: str) -> str:
    """The digit-free name of the tensors that a pattern stands for."""
    return name_key(SLOT.sub("0", text))


def patterns_of(
    equations: Mapping[str, str | list[str]], copies: Mapping[str, str], *, required: bool
) -> tuple[TensorPattern, ...]:
    return tuple(
        pattern_of(text, shape, copies.get(text), required=required) for text, shape in equations.items()
    )


def pattern_of(text: str, shapes: str | list[str], copy_of: str | None, *, required: bool) -> TensorPattern:
    slots: list[Slot] = []
    literals: list[str] = []
    end = 0
    for found in SLOT.finditer(text):
        literals.append(text[end : found.start()])
        slots.append(Slot(found[1] or f"slot{len(slots)}", parse_polynomial(found[2])))
        end = found.end()
    literals.append(text[end:])
    variants = tuple(_variant(shape) for shape in ([shapes] if isinstance(shapes, str) else shapes))
    return TensorPattern(text, tuple(literals), tuple(slots), variants, required, copy_of)


def _variant(text: str) -> Variant:
    shape, _, condition = text.partition(" if ")
    axes = tuple(axis.strip() for axis in _COMMA.split(shape) if axis.strip())
    return Variant(
        tuple(parse_polynomial(axis) for axis in axes),
        axes,
        parse_condition(condition.strip()) if condition else None,
    )
