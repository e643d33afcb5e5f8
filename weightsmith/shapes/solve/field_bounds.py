"""Which values an equation leaves each of its fields: what the search branches on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache, partial
from math import gcd, isqrt
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Floor, Polynomial
from weightsmith.shapes.solve.budget import BUDGET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

    from weightsmith.shapes.page.expression import Atom, Monomial


@dataclass(frozen=True, slots=True)
class SearchRules:
    """What the search may assume: see `solver.solve`."""

    divisors: Sequence[tuple[Polynomial, str]]
    zeroable: frozenset[str]
    hints: Mapping[str, int]
    flags: frozenset[str]


class Bounds:
    """What equations say of the values that each field could have.

    divides: a number that the field must divide. largest: the largest that it can be. windows: the smallest and the
    largest. quotients: the values whose quotient divides a size.
    """

    def __init__(self, rules: SearchRules, divides: Mapping[str, int]) -> None:
        self.rules = rules
        self.divides = dict(divides)
        self.largest: dict[str, int] = {}
        self.windows: dict[str, tuple[int, int]] = {}
        self.quotients: dict[str, list[int]] = {}

    def read(self, row: Polynomial) -> None:
        """Takes in what one equation says."""
        terms = dict(row.terms)
        size = -terms.pop((), 0)
        if not terms:
            return
        for name in _plain(set.intersection(*(set(m) for m in terms))) if size else ():
            self.divides[name] = gcd(self.divides.get(name, 0), size)
        if size > 0 and all(c > 0 for c in terms.values()):
            self._read_sum(terms, size)
        if len(terms) == 1:
            window = _floor_window(*next(iter(terms.items())), size)
            if window:
                self.windows[window[0]] = window[1]
        if rest := _rest_window(terms, size):
            self.windows[rest[0]] = rest[1]
        for name, values in _floor_factors(terms, size):
            both = set(values) & set(self.quotients.get(name, values))
            # Of two sides of a grid there are more than a search takes: the likely ones first.
            self.quotients[name] = sorted(both, key=partial(_distance, self.rules.hints.get(name)))

    def _read_sum(self, terms: Mapping[Monomial, int], size: int) -> None:
        """In a sum, a product bounds its factors only when none of the others can be 0."""
        for name in _plain({atom for m in terms for atom in m}):
            least = [
                c
                for m, c in terms.items()
                if name in m and (len(terms) == 1 or not any(_may_vanish(a, name, self.rules) for a in m))
            ]
            if least:
                self.largest[name] = min(self.largest.get(name, size), size // min(least))

    def choices(self, open_fields: Set[str]) -> list[tuple[str, Sequence[int]]]:
        """Fields with the values that equations leave them."""
        found: list[tuple[str, Sequence[int]]] = [(flag, (0, 1)) for flag in self.rules.flags & open_fields]
        found += [
            (n, divisors_of(number))
            for n, number in self.divides.items()
            if n not in self.rules.flags and number <= BUDGET.factored
        ]
        found += [
            (n, range(low, high + 1))
            for n, (low, high) in self.windows.items()
            if high - low < BUDGET.counted_up
        ]
        return found + list(self.quotients.items())

    def counted_up(self) -> list[tuple[str, Sequence[int]]]:
        """Fields that only have a largest value, with every value up to it."""
        return [
            (name, range(0 if name in self.rules.zeroable else 1, top + 1))
            for name, top in self.largest.items()
            if top <= BUDGET.counted_up
        ]


def _distance(likely: int | None, value: int) -> tuple[int, int]:
    return 0 if likely is None else abs(value - likely), value


def _may_vanish(atom: Atom, field: str, rules: SearchRules) -> bool:
    """Whether another factor than the field may be 0, and the product with it."""
    return atom != field and (not isinstance(atom, str) or atom in rules.zeroable or atom in rules.flags)


def _plain(atoms: Iterable[Atom]) -> list[str]:
    return [atom for atom in atoms if isinstance(atom, str)]


def _floor_window(monomial: Monomial, coefficient: int, size: int) -> tuple[str, tuple[int, int]] | None:
    """`(field + c) // k = q` leaves k values from q * k - c on; `n // field = q` those in (n // (q + 1), n // q]."""
    if len(monomial) != 1 or not isinstance(monomial[0], Floor) or size % coefficient:
        return None
    quotient, divisor = size // coefficient, monomial[0].denominator.known()
    shifted = _shifted(monomial[0].numerator)
    if shifted and divisor:
        field, added = shifted
        least = quotient * divisor - added
        return field, (max(1, least), least + divisor - 1)
    whole = monomial[0].numerator.known()
    match monomial[0].denominator.terms:
        case (((str(field),), 1),) if whole and quotient > 0:
            return field, (whole // (quotient + 1) + 1, whole // quotient)
    return None


def _rest_window(terms: Mapping[Monomial, int], size: int) -> tuple[str, tuple[int, int]] | None:
    """The values of the field in `a * field + b * ((field + c) // k) = size`, such as a half that is rounded up: the
    quotient is (field + c - r) / k with a rest r below k."""
    singles = [monomial[0] for monomial in terms if len(monomial) == 1]
    for atom in singles if len(singles) == len(terms) == 2 else ():
        shifted = _shifted(atom.numerator) if isinstance(atom, Floor) else None
        divisor = atom.denominator.known() if isinstance(atom, Floor) else None
        if not shifted or not divisor or (shifted[0],) not in terms:
            continue
        field, added = shifted
        b = terms[atom,]
        slope = terms[field,] * divisor + b
        edges = [size * divisor - b * (added - rest) for rest in (0, divisor - 1)]
        if slope > 0 and divisor > 0:
            return field, (max(1, -(-min(edges) // slope)), max(edges) // slope)
    return None


def _shifted(polynomial: Polynomial) -> tuple[str, int] | None:
    """(field, c) of `field + c`."""
    added = dict(polynomial.terms).get((), 0)
    match polynomial.plus(Polynomial.constant(added), -1).terms:
        case (((str(field),), 1),):
            return field, added
    return None


def _floor_factors(terms: Mapping[Monomial, int], size: int) -> Iterator[tuple[str, list[int]]]:
    """`(n // field) * (…) = size`, or `(field // k) * (…)`: the quotient divides the size, which leaves the field those
    values that give such a one."""
    common = set.intersection(*(set(m) for m in terms))
    for atom in common if size else ():
        if not isinstance(atom, Floor):
            continue
        whole, divisor = atom.numerator.known(), atom.denominator.known()
        match atom.denominator.terms:
            case (((str(field),), 1),) if whole and whole <= BUDGET.counted_up:
                yield field, [v for v in range(1, whole + 1) if size % (whole // v) == 0]
        shifted = _shifted(atom.numerator)
        if shifted and divisor and divisor > 0 and abs(size) <= BUDGET.factored:
            least = [quotient * divisor - shifted[1] for quotient in divisors_of(size)]
            if len(least) * divisor <= BUDGET.counted_up:
                yield shifted[0], [v for low in least for v in range(max(1, low), low + divisor)]


@lru_cache(maxsize=4_096)
def divisors_of(number: int) -> tuple[int, ...]:
    """In ascending order, by trial division: sizes are products of small numbers. number: at most BUDGET.factored."""
    number = abs(number)
    divisors, rest = [1], number
    for prime in _primes():
        if prime * prime > rest:
            break
        power, multiples = 1, list(divisors)
        while rest % prime == 0:
            rest //= prime
            power *= prime
            divisors += [d * power for d in multiples]
    if rest > 1:
        divisors += [d * rest for d in divisors]
    return tuple(sorted(divisors))


@cache
def _primes() -> tuple[int, ...]:
    """Every prime up to the root of the largest number that is taken apart."""
    top = isqrt(BUDGET.factored)
    composite = bytearray(top + 1)
    for number in range(2, isqrt(top) + 1):
        if not composite[number]:
            composite[number * number :: number] = b"\1" * len(range(number * number, top + 1, number))
    return tuple(number for number in range(2, top + 1) if not composite[number])
