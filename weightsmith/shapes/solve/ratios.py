"""Fractions in a config (`mlp_ratio`): a rounded product fits many, so one is checked or proposed, never claimed."""

from __future__ import annotations

from itertools import combinations, islice
from math import gcd
from typing import TYPE_CHECKING

from weightsmith.shapes.solve.equations import rounds
from weightsmith.shapes.solve.field_bounds import LARGEST_FACTORED, divisors_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.equations import Fact

# Of the fields that the same products mention, so many may differ from what is stated.
MAX_CHANGED = 2
# Settings that are tried for the products of one group of fields.
MAX_TRIED = 20_000
# An image is folded so many times at most: the fraction under a 1 is one of as many.
MAX_FOLDS = 16
# Far enough out for the rounding not to matter.
_FAR = 1_000_000


def settle_ratios(
    facts: Iterable[Fact],
    values: dict[str, Value],
    options: dict[str, tuple[Value, ...]],
    cheapest: dict[str, tuple[Value, ...]],
    stated: Stated,
) -> list[str]:
    """Gives the fields that only rounded products mention values that satisfy them: the stated ones if those can.

    Returns the fields that were given a value.
    """
    settled: list[str] = []
    for fields, rows in _linked(facts, values, stated):
        found = next(islice(_fitting_settings(fields, rows, values, stated), 1), None)
        for field, value in (found or {}).items():
            values[field] = value
            options[field] = ()
            cheapest[field] = (value,)
            settled.append(field)
    return settled


def _linked(
    facts: Iterable[Fact], values: Mapping[str, Value], stated: Stated
) -> list[tuple[list[str], list[Fact]]]:
    """Rounded products grouped by the open fields that they share; those of other than the page's fields left out."""
    groups: list[tuple[set[str], list[Fact]]] = []
    for fact in facts:
        if not rounds(fact.polynomial):
            continue
        fields = {f for f in fact.polynomial.fields() if f not in values}
        if not fields or not fields <= stated.page.fields.keys():
            continue
        touching = [group for group in groups if group[0] & fields]
        apart = [group for group in groups if not group[0] & fields]
        rows = [row for group in touching for row in group[1]]
        groups = [*apart, (fields.union(*(group[0] for group in touching)), [*rows, fact])]
    return [(sorted(fields), rows) for fields, rows in groups]


def _fitting_settings(
    fields: Sequence[str], rows: Sequence[Fact], values: Mapping[str, Value], stated: Stated
) -> Iterator[dict[str, Value]]:
    """Settings of the fields that satisfy every product, those nearest to what is stated first."""
    usual = {field: stated.assumed(field, values) for field in fields}
    tried = 0
    for size in range(min(len(fields), MAX_CHANGED) + 1):
        for changed in combinations(fields, size):
            for setting in _settings(changed, usual, rows, values, stated):
                tried += 1
                if tried > MAX_TRIED:
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
            found += [1 / folds for folds in range(1, MAX_FOLDS + 1)]
        exact = row.size * _FAR / factor if factor else 0.0
        near = (row.size + 0.5) * _FAR / factor if factor else 0.0
        found += [round(exact), round(near)] if whole else [round(exact, d) for d in range(7)] + [near, exact]
    if isinstance(usual, int):
        common = gcd(*(row.size for row in concerned))
        if common <= LARGEST_FACTORED:
            found += sorted(divisors_of(common), key=lambda d: abs(d - usual))
    return [v for v in dict.fromkeys(found) if v > 0]


def _fits(setting: Mapping[str, Value], rows: Iterable[Fact], values: Mapping[str, Value]) -> bool:
    whole = {**values, **setting}
    return all(row.polynomial.at(whole) == row.size for row in rows)
