"""The config that explains the weights at the least cost, and what decided each field of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from weightsmith.shapes.solve.candidate_values import distinct
from weightsmith.shapes.solve.relation import Relation, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.equations import Fact

# The price of a row that explains the weights no worse, and is not among the cheapest.
_DEARER = 1.0


@dataclass(frozen=True, slots=True)
class Decided:
    """What fields can be, as it was decided.

    every: all rows that explain the weights, the best first. cheapest: those of them that keep as much of the stated
    config as possible; the first of these was taken.
    """

    every: Relation
    cheapest: Relation


@dataclass(frozen=True)
class Solution:
    """values: every field of the page. decided: what decided a field; none for one that no equation of these weights
    mentions, and that keeps what is stated. facts: the equations that it rests on. cost: the corrections that the
    stated config needs. broken: rules of the family that contradict what the weights say. proven: it was put into the
    equations, and every tensor is as they predict. said: what each witness knew before it was joined.
    """

    values: Mapping[str, Value]
    decided: Mapping[str, Decided]
    facts: Sequence[Fact] = ()
    cost: float = 0.0
    broken: int = 0
    proven: bool = False
    said: tuple[Relation, ...] = ()

    @cached_property
    def options(self) -> Mapping[str, tuple[Value, ...]]:
        """Per decided field all values that explain the weights, empty where they could not all be found."""
        return {name: decided.every.told(name) for name, decided in self.decided.items()}

    @cached_property
    def cheapest(self) -> Mapping[str, tuple[Value, ...]]:
        """What is left of the options where as much of the stated config as possible is kept."""
        return {name: decided.cheapest.values(name) for name, decided in self.decided.items()}

    @cached_property
    def forced(self) -> frozenset[str]:
        """The fields that can have one value only."""
        return frozenset(name for name, options in self.options.items() if len(options) == 1)

    def partners(self, name: str) -> frozenset[str]:
        """The fields that a field was decided together with."""
        return self.decided[name].every.fields - {name} if name in self.decided else frozenset()

    def deciding(
        self,
        every: Relation,
        cheapest: Relation | None = None,
        fields: Iterable[str] | None = None,
        cost: float = 0.0,
    ) -> Solution:
        """With the first of the cheapest rows taken. fields: those that this decides; all of the relation as a rule."""
        cheapest = every if cheapest is None else cheapest
        taken = cheapest.rows[0].values if cheapest.rows else {}
        decided = dict.fromkeys(every.fields if fields is None else fields, Decided(every, cheapest))
        return replace(
            self,
            values={**self.values, **taken},
            decided={**self.decided, **decided},
            cost=self.cost + cost,
        )

    def left_open(self, fields: Set[str], why: str) -> Solution:
        """With nothing certain of some fields, whatever decided them; they keep their values."""
        left = {}
        for name in fields:
            nothing = Relation("", self.partners(name) | {name}, (), why)
            left[name] = Decided(nothing, nothing)
        return replace(self, decided={**self.decided, **left})


def over_all(
    best: Solution, others: Sequence[Solution], unfinished: str, base: Mapping[str, Value]
) -> Solution:
    """The best solution with the options of all: a field is certain only where every one says the same.

    unfinished: why there may be more of them, empty where there are none. base: what holds in all of them, tried or
    not.
    """
    every = [best, *others]
    decided = {}
    for name in dict.fromkeys(name for solution in every for name in solution.decided):
        options = [solution.options.get(name, ()) for solution in every]
        left = [s.cheapest.get(name, ()) for s in every if s.cost == best.cost]
        kept = distinct(value for values in left for value in values)
        gap = "" if all(options) else "one of the ways to read the shapes leaves it open"
        if not gap and name not in base:
            gap = unfinished
        known = [s.decided[name].every.values(name) for s in every if name in s.decided]
        both = distinct(value for values in known for value in values)
        fields = best.partners(name) | {name}
        rows = tuple(Row({name: value}, 0.0 if value in kept else _DEARER) for value in both)
        cheapest = tuple(Row({name: value}) for value in kept)
        decided[name] = Decided(
            Relation(_witness(name, every), fields, rows, gap),
            Relation(_witness(name, every), fields, cheapest, gap),
        )
    return replace(best, decided=decided)


def _witness(name: str, solutions: Iterable[Solution]) -> str:
    return next(s.decided[name].every.witness for s in solutions if name in s.decided)


def complete(stated: Stated, values: Mapping[str, Value]) -> dict[str, Value]:
    """Fields that the weights say nothing of keep what is stated, else their class default."""
    page, whole = stated.page, dict(values)
    for _ in range(3):  # a default may be computed from another default
        for name in [*page.fields, *page.unverifiable]:
            if name not in values and whole.get(name) is None:  # None may be what the weights say
                whole[name] = stated.assumed(name, whole)
    for name, computed in page.computed.items():
        guard = computed.when_configured
        if stated.no_file or guard is None or stated.has(guard):
            whole[name] = computed.value.at(whole)
    return whole
