"""The one enumerator of terms: what may stand in an equation beside plain products of fields, likely ones first.

A term is known by its numbers on the rows. Of two that no row tells apart the one that is tried first is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations, permutations
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit import language
from weightsmith.shapes.learn.fit.check import number_of
from weightsmith.shapes.learn.fit.language import filled
from weightsmith.shapes.page.expression import Item, Polynomial, parse_polynomial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.page.expression import Atom
    from weightsmith.shapes.page.value import Value

    Row = tuple[Mapping[str, Value], int]


@dataclass(frozen=True, slots=True)
class Term:
    """column: its number on each row."""

    atom: Atom
    column: list[int]


def column_of(atom: Atom, rows: Iterable[Row]) -> list[int] | None:
    """Its number on each row; None where it has none on one of them."""
    term = Polynomial.of({(atom,): 1})
    column = []
    for values, _ in rows:
        own = values.get(atom) if isinstance(atom, str) else None
        if isinstance(own, float) and own % 1:
            return None
        if isinstance(atom, Item) and (atom.index.at(values) or 0) < 0:
            return None  # an item before the first is not the last one
        number = number_of(term, values)
        if number is None:
            return None
        column.append(number)
    return column


def distinct(texts: Iterable[str], rows: Sequence[Row]) -> Iterator[Term]:
    """The first term for each column; none that is the same on all rows, or has no number on one."""
    known: set[tuple[int, ...]] = set()
    for text in dict.fromkeys(texts):
        (((atom,), _),) = parse_polynomial(text).terms
        column = column_of(atom, rows)
        if column is not None and len(set(column)) > 1 and tuple(column) not in known:
            known.add(tuple(column))
            yield Term(atom, column)


def shares(fields: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    """What a fraction among the fields makes of the others: a share of a width is a product, too."""
    for ratio in _fractions(fields, rows):
        yield from filled(language.FOLD, r=ratio)
        for a in fields:
            if a != ratio:
                yield from filled(language.SHARES, a=a, r=ratio)


def quotients(fields: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    """The quotients, ceilings and limits of the fields, likely ones first."""
    pairs = list(permutations(fields, 2))
    for form in language.QUOTIENTS:
        yield from chain.from_iterable(filled([form], a=a, b=b) for a, b in pairs)
    for a, b in combinations(fields, 2):
        yield from filled(language.LIMITS, a=a, b=b)
    for a in fields:
        for divisor in language.DIVISORS:
            for multiple in language.MULTIPLES.get(divisor, (1,)):
                yield from filled(language.FIXED_PARTS, a=a, d=divisor, m=multiple)
    yield from chain.from_iterable(filled(language.CEILING, a=a, b=b) for a, b in pairs)
    ratios = _fractions(fields, rows)
    for a, b in pairs:
        yield from filled(language.CEILING_OF_THIRDS, a=a, b=b)
        yield from chain.from_iterable(filled(language.CEILING_OF_SHARES, a=a, b=b, r=r) for r in ratios)
    yield from _parts_of_products(fields)


def _parts_of_products(fields: Sequence[str]) -> Iterator[str]:
    """`a * b // c`, and `a * b` divided by a number that the model has fixed."""
    for a, b in combinations(range(len(fields)), 2):
        both = {"a": fields[a], "b": fields[b]}
        thirds = (size for place, size in enumerate(fields) if place not in (a, b))
        yield from chain.from_iterable(filled(language.PART_OF_PRODUCT, **both, c=size) for size in thirds)
        yield from filled(language.FIXED_PART_OF_PRODUCT, **both)


def _fractions(fields: Sequence[str], rows: Sequence[Row]) -> list[str]:
    return [n for n in fields if any(isinstance(values.get(n), float) for values, _ in rows)]
