"""What follows from equations without search: known values put in, elimination over products, roots."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Monomial, Polynomial

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Values = dict[str, int]
Row = dict[Monomial, Fraction]  # sum of coefficient * monomial = -row[()]


class Contradiction(Exception):
    """No assignment satisfies the equations."""


def consistent(
    equations: Iterable[tuple[Polynomial, int]], known: Mapping[str, int], zeroable: frozenset[str]
) -> bool:
    """Whether nothing that follows without search contradicts itself."""
    try:
        propagate([p.plus(Polynomial.constant(size), -1) for p, size in equations], dict(known), zeroable)
    except Contradiction:
        return False
    return True


def propagate(
    polynomials: Sequence[Polynomial], values: Values, zeroable: frozenset[str]
) -> list[Polynomial]:
    """Adds to `values` all that follows without search; returns the equations (`= 0`) that stay open."""
    rows = list(polynomials)
    while True:
        rows = _substituted(rows, values)
        if _take_roots(rows, values, zeroable):
            continue
        # Elimination is dear, and seldom needed once a search has chosen a field: only when nothing else moves.
        rows = _eliminate(rows)
        if not _take_roots(rows, values, zeroable):
            return rows


def _substituted(rows: Iterable[Polynomial], values: Values) -> list[Polynomial]:
    """The rows with what is known put in, satisfied ones left out. Raises Contradiction for one that cannot be."""
    left = []
    for row in rows:
        rest = row.substitute(values)
        known = rest.known()
        if known:
            raise Contradiction
        if known is None:
            left.append(_rooted(rest))
    return left


def _rooted(row: Polynomial) -> Polynomial:
    """`c * (a // b)**n = size` as `a // b = root`: a quotient that stands alone is taken like a field."""
    terms = dict(row.terms)
    constant = terms.pop((), 0)
    if len(terms) != 1:
        return row
    ((monomial, coefficient),) = terms.items()
    if len(monomial) < 2 or isinstance(monomial[0], str) or any(atom != monomial[0] for atom in monomial):
        return row
    power, remainder = divmod(-constant, coefficient)
    root = 0 if power == 0 else _integer_root(power, len(monomial))
    if remainder or root is None:
        raise Contradiction
    return Polynomial.of({monomial[:1]: 1, (): -root})


def _eliminate(polynomials: Sequence[Polynomial]) -> list[Polynomial]:
    """Reduced row echelon form over monomials, longest products first, with integer coefficients again."""
    if len(polynomials) < 2:
        return list(polynomials)
    rows: list[Row] = [{m: Fraction(c) for m, c in p.terms} for p in polynomials]
    columns = sorted({m for row in rows for m in row if m}, key=lambda m: (-len(m), str(m)))
    done: list[tuple[Monomial, Row]] = []
    for column in columns:
        pivot = next((row for row in rows if column in row), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        scale = pivot[column]
        pivot = {m: c / scale for m, c in pivot.items()}
        rows = [_subtract(row, pivot, column) for row in rows]
        done = [(m, _subtract(row, pivot, column)) for m, row in done]
        done.append((column, pivot))
    if any(row.get((), 0) for row in rows):
        raise Contradiction
    return [_integral(row) for _, row in done]


def _subtract(row: Row, pivot: Row, column: Monomial) -> Row:
    factor = row.get(column)
    if not factor:
        return row
    result = dict(row)
    for monomial, c in pivot.items():
        result[monomial] = result.get(monomial, Fraction(0)) - factor * c
        if not result[monomial]:
            del result[monomial]
    return result


def _integral(row: Row) -> Polynomial:
    scale = lcm(*(c.denominator for c in row.values()))
    whole = {m: int(c * scale) for m, c in row.items()}
    common = gcd(*whole.values())
    return Polynomial.of({m: c // common for m, c in whole.items()})


def _take_roots(rows: Iterable[Polynomial], values: Values, zeroable: frozenset[str]) -> bool:
    """Takes every root that stands alone; says whether there was one."""
    before = len(values)
    for row in rows:
        _take_root(row, values, zeroable)
    return len(values) > before


def _take_root(row: Polynomial, values: Values, zeroable: frozenset[str]) -> bool:
    """`c * field**n = size` determines the field. Raises Contradiction when no allowed integer does."""
    terms = dict(row.terms)
    constant = terms.pop((), 0)
    if len(terms) != 1:
        return False
    ((monomial, coefficient),) = terms.items()
    field = monomial[0]
    if not isinstance(field, str) or any(atom != field for atom in monomial) or field in values:
        return False
    power, remainder = divmod(-constant, coefficient)
    root = 0 if power == 0 and field in zeroable else _integer_root(power, len(monomial))
    if remainder or root is None:
        raise Contradiction
    values[field] = root
    return True


def _integer_root(value: int, degree: int) -> int | None:
    """The positive integer whose power is `value`, if there is one."""
    if value < 1:
        return None
    if degree == 1:
        return value
    low, high = 1, 1 << -(-value.bit_length() // degree)  # a float could not hold every value
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**degree >= value else (middle + 1, high)
    return low if low**degree == value else None
