"""Which values published models have: the order of candidates where the weights leave a field open, never a proof.

Heads of 128 channels are more likely than heads of 4. The counts are made by `python -m benchmarks.published.counts`
from the published models (benchmarks/published/README.md).
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Floor
from weightsmith.shapes.page.value import is_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.shapes.page.expression import Polynomial
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value

FILE = Path(__file__).with_name("published_values.json")
# Fewer models than this tell nothing about the others.
_FEWEST = 5


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that candidates are ordered by: a field, or what it divides a size into.

    field: the one that is open. size: the size that it divides, None for the field itself. declared: the value that
    the class declares for the field, None where it computes one. shown: shapes depend on the quotient. Classes of which
    no shape shows how wide heads are are older, and their heads narrower.
    """

    field: str
    size: Polynomial | None = None
    declared: Value = None
    shown: bool = False

    @property
    def name(self) -> str:
        """What it is counted under: the name that the language model's field has, wherever a family has it."""
        name = self.field if self.size is None else f"{self.size} // {self.field}"
        return (f"({name})" if self.shown else name).replace("text_config.", "")

    def of(self, values: Mapping[str, Value]) -> Value:
        own = values.get(self.field)
        if self.size is None:
            return own
        whole = self.size.at(values)
        return whole // own if whole and is_number(own) and own > 0 else None


@dataclass(frozen=True, slots=True)
class PublishedValues:
    """Name of a measure → value → how many published models have it."""

    counts: Mapping[str, Mapping[int, int]]

    def uniformity(self, measure: Measure) -> float:
        """The share of the models that have the most common value; 0 where too few are known."""
        known = self.counts.get(measure.name, {})
        total = sum(known.values())
        return max(known.values()) / total if total >= _FEWEST else 0.0

    def measures(self, fields: Iterable[str], page: Page) -> tuple[Measure, ...]:
        """What orders the values of fields that were decided together: the numbers that are much alike in all models.

        Most heads have 128 channels; how many heads there are depends on the size of the model. Where no field tells
        how wide heads are, it is what the heads divide a size into.
        """
        fields = set(fields)
        own = [Measure(name, None, page.fields[name].value) for name in fields if name in page.fields]
        alike = [measure for measure in own if 2 * self.uniformity(measure) > 1]
        divided = (
            [m for m in quotients(page) if m.field in fields and self.uniformity(m)] if not alike else []
        )
        return tuple(sorted(alike or divided, key=lambda measure: (-self.uniformity(measure), measure.name)))

    def likelihood(self, measure: Measure, values: Mapping[str, Value]) -> float:
        """How likely the values are, as a logarithm: first what the class declares, then what most models have.

        A number that no model has counts less the farther it is from those that some have.
        """
        known, value = self.counts[measure.name], measure.of(values)
        if not is_number(value) or value <= 0:
            return log2(_unseen(len(known)))
        if values.get(measure.field) == measure.declared:
            return log2(sum(known.values()))
        near = min(abs(log2(value / other)) for other in known)
        return log2(known.get(value) or _unseen(near))


def _unseen(doublings: float) -> float:
    """What a number counts that is so far from every published one: less than one model."""
    return float(0.5 ** (1 + doublings))


def quotients(page: Page) -> Iterator[Measure]:
    """What fields divide sizes into, by the rules and the equations of a page."""
    patterns = (pattern for layout in page.layouts.values() for pattern in layout)
    axes = (axis for pattern in patterns for variant in pattern.variants for axis in variant.shape)
    atoms = (atom for axis in axes for monomial, _ in axis.terms for atom in monomial)
    floors = dict.fromkeys(atom for atom in atoms if isinstance(atom, Floor))
    shown = ((floor.numerator, str(floor.denominator)) for floor in floors)
    yield from (
        Measure(name, size, page.fields[name].value, True) for size, name in shown if name in page.fields
    )
    yield from (Measure(name, size) for size, name in page.divisors if name in page.unverifiable)


_replaced: ContextVar[PublishedValues | None] = ContextVar("replaced", default=None)


def published_values() -> PublishedValues:
    """The counts that candidates are ordered by."""
    return _replaced.get() or _shipped()


@contextmanager
def counted(values: PublishedValues) -> Iterator[None]:
    """Orders by other counts inside the block: a model is measured by counts that it is no part of."""
    token = _replaced.set(values)
    try:
        yield
    finally:
        _replaced.reset(token)


@cache
def _shipped() -> PublishedValues:
    counts = json.loads(FILE.read_text(encoding="utf-8"))["counts"]
    return PublishedValues({name: {int(v): n for v, n in known.items()} for name, known in counts.items()})
