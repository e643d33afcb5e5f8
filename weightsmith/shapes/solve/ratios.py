"""Fractions in a config (`mlp_ratio`): a rounded product fits many, so one is checked or proposed, never claimed."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import gcd
from typing import TYPE_CHECKING

from weightsmith.shapes.solve.budget import BUDGET, Count
from weightsmith.shapes.solve.equations import rounds
from weightsmith.shapes.solve.field_bounds import divisors_of
from weightsmith.shapes.solve.relation import Relation, connected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.equations import Fact
    from weightsmith.shapes.solve.solution import Solution

WITNESS = "ratios"
# Far enough out for the rounding not to matter.
_FAR = 1_000_000


def with_ratios(solution: Solution, stated: Stated) -> Solution:
    """Gives the fields that only rounded products mention values that satisfy them: the stated ones if those can."""
    known = solution.values.keys()
    rounded = [fact for fact in solution.facts if rounds(fact.polynomial)]
    # A product of other fields than the page's own says nothing.
    rounded = [fact for fact in rounded if fact.polynomial.fields() - known <= stated.page.fields.keys()]
    found: dict[str, Value] = {}
    for rows in connected(rounded, lambda fact: fact.polynomial.fields() - known):
        fields = sorted(frozenset().union(*(fact.polynomial.fields() - known for fact in rows)))
        found |= next(_fitting_settings(fields, rows, {**solution.values, **found}, stated), {})
    for name, value in found.items():
        solution = solution.deciding(Relation.of(WITNESS, {name: value}, "others round to the same sizes"))
    return replace(solution, cost=solution.cost + stated.cost(found, solution.values))


def _fitting_settings(
    fields: Sequence[str], rows: Sequence[Fact], values: Mapping[str, Value], stated: Stated
) -> Iterator[dict[str, Value]]:
    """Settings of the fields that satisfy every product, those nearest to what is stated first."""
    usual = {field: stated.assumed(field, values) for field in fields}
    tried = Count(BUDGET.ratios, f"given up after {BUDGET.ratios:,} fractions")
    for size in range(min(len(fields), BUDGET.changed_ratios) + 1):
        for changed in combinations(fields, size):
            for setting in _settings(changed, usual, rows, values, stated):
                if not tried.take():
                    return
                if _fits(setting, rows, values):
                    yield setting


def _settings(
    changed: Sequence[str],
    setting: dict[str, Value],
    rows: Sequence[Fact],
    values: Mapping[str, Value],
    stated: Stated,
) -> Iterator[dict[str, Value]]:
    """Whole numbers by division, then the last field by proportion to what the others leave."""
    if not changed:
        yield setting
        return
    (first, *rest) = sorted(changed, key=lambda f: isinstance(setting[f], float))
    for value in _candidates(first, rows, {**values, **setting}, stated):
        yield from _settings(rest, {**setting, first: value}, rows, values, stated)


def _candidates(field: str, rows: Sequence[Fact], values: Mapping[str, Value], stated: Stated) -> list[float]:
    """Values of one field that bring a product to its size, the class default before them; all above 0."""
    usual = stated.page.fields[field].default(values)
    whole = isinstance(usual, int)
    found: list[float] = [usual] if isinstance(usual, int | float) else []
    concerned = [row for row in rows if field in row.polynomial.fields()]
    for row in concerned:
        # One step of regula falsi is exact for a product: f(1) is the factor beside the fraction.
        factor = row.polynomial.at({**values, field: _FAR})
        if factor == 0 and not whole:
            found += [1 / folds for folds in range(1, BUDGET.folds + 1)]
        exact = row.size * _FAR / factor if factor else 0.0
        near = (row.size + 0.5) * _FAR / factor if factor else 0.0
        found += [round(exact), round(near)] if whole else [round(exact, d) for d in range(7)] + [near, exact]
    if isinstance(usual, int):
        common = gcd(*(row.size for row in concerned))
        if common <= BUDGET.factored:
            found += sorted(divisors_of(common), key=lambda d: abs(d - usual))
    return [v for v in dict.fromkeys(found) if v > 0]


def _fits(setting: Mapping[str, Value], rows: Iterable[Fact], values: Mapping[str, Value]) -> bool:
    whole = {**values, **setting}
    return all(row.polynomial.at(whole) == row.size for row in rows)
