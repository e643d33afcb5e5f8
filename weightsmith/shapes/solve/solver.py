"""Reads equations backwards: every assignment of positive integers that makes polynomials equal measured sizes.

Three steps, repeated until nothing moves: put in what is known; eliminate over *monomials* as if each product
were a variable of its own (this alone determines MLA); take roots of what then stands alone. What is left
falls into groups that share no field; each is searched by trying the divisors of a size for a field that
divides every term of an equation. The search finds every solution or says why it did not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Limit, Polynomial
from weightsmith.shapes.solve.budget import BUDGET, Count
from weightsmith.shapes.solve.field_bounds import Bounds, SearchRules
from weightsmith.shapes.solve.propagation import Contradiction, Values, propagate
from weightsmith.shapes.solve.relation import Relation, Row, connected

__all__ = ["Contradiction", "solve"]

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from weightsmith.shapes.page.expression import Atom

WITNESS = "sizes"


def solve(
    equations: Iterable[tuple[Polynomial, int]],
    known: Mapping[str, int] | None = None,
    divisors: Sequence[tuple[Polynomial, str]] = (),
    zeroable: frozenset[str] = frozenset(),
    hints: Mapping[str, int] | None = None,
    flags: frozenset[str] = frozenset(),
) -> list[Relation]:
    """All integer solutions of `polynomial = size` for every pair, positive or, for `zeroable` fields, 0.

    A relation for each field that follows without search, and for each group of fields that equations tie together.

    known: fields that are decided already. divisors: (polynomial, field) pairs where the field is known to
    divide the polynomial. hints: values to try for fields that nothing bounds; they complete a solution, never
    the search. flags: fields that are 0 or 1, and come back as False or True. Raises Contradiction when there is no
    solution.
    """
    values = dict(known or {})
    polynomials = [p.plus(Polynomial.constant(size), -1) for p, size in equations]
    rows = propagate(polynomials, values, zeroable | flags)
    rules = SearchRules(tuple(divisors), zeroable, hints or {}, flags)
    groups = connected(rows, Polynomial.fields)
    searched = [_search(group, values, rules) for group in groups]
    if any(relation.contradictory for relation in searched):
        raise Contradiction
    follows = values.keys() - (known or {}).keys()
    return [*(_relation({n}, [{n: value}], flags) for n, value in values.items() if n in follows), *searched]


def _relation(
    fields: Set[str], solutions: Iterable[Mapping[str, int]], flags: frozenset[str], gap: str = ""
) -> Relation:
    """The solutions, flags as flags again: equations reckon with 0 and 1."""
    rows = (Row({n: bool(v) if n in flags else v for n, v in found.items()}) for found in solutions)
    return Relation(WITNESS, frozenset(fields), tuple(rows), gap)


@dataclass(frozen=True, slots=True)
class _Node:
    """A state of the search. orders: pairs whose first must not exceed the second, from min and max cases."""

    rows: Sequence[Polynomial]
    values: Values
    orders: tuple[tuple[Polynomial, Polynomial], ...] = ()


def _search(rows: list[Polynomial], known: Values, rules: SearchRules) -> Relation:
    """What the fields of these equations can be together."""
    fields = frozenset().union(*(row.fields() for row in rows)) - set(known)
    solutions: dict[tuple[tuple[str, int], ...], Values] = {}
    tried = Count(BUDGET.assignments, f"given up after {BUDGET.assignments:,} assignments of sizes")
    stack = [_Node(rows, dict(known))]
    gap = ""
    while stack:
        node = stack.pop()
        if not tried.take() or len(solutions) >= BUDGET.solutions:
            gap = tried.gap or f"more than {BUDGET.solutions:,} solutions"
            break
        values = dict(node.values)
        try:
            rows = propagate(node.rows, values, rules.zeroable | rules.flags)
            orders = _in_order(node.orders, values)
            if any(values.get(flag, 0) > 1 for flag in rules.flags):
                continue
        except Contradiction:
            continue
        cases = _cases(rows)
        if cases:
            stack += [_Node(part, values, (*orders, order)) for part, order in cases]
            continue
        left = fields - set(values)
        branch = _branch(rows, _multiples(rules.divisors, values, left), rules) if left else None
        if branch is None:
            found = {field: values[field] for field in fields - left}
            solutions[tuple(sorted(found.items()))] = found
            stack += _completed(rows, values, orders, left, rules)
            continue
        field, candidates = branch
        stack += [_Node(rows, {**values, field: candidate}, orders) for candidate in reversed(candidates)]
    return _relation(fields, list(solutions.values()), rules.flags, gap)


def _completed(
    rows: Sequence[Polynomial],
    values: Values,
    orders: tuple[tuple[Polynomial, Polynomial], ...],
    left: frozenset[str],
    rules: SearchRules,
) -> list[_Node]:
    """What to try for fields that nothing bounds: likely values, and the edges of what is allowed."""
    hinted = [(field, rules.hints[field]) for field in sorted(left) if field in rules.hints]
    tried = [*hinted, *_edges(orders)] if left else []
    return [_Node(rows, {**values, field: value}, orders) for field, value in tried]


def _cases(
    rows: Sequence[Polynomial],
) -> list[tuple[list[Polynomial], tuple[Polynomial, Polynomial]]]:
    """A `min` or `max` is one of its arguments: the rows for each, with the order that this takes for granted."""
    for row in rows:
        for monomial, _ in row.terms:
            for atom in monomial:
                if isinstance(atom, Limit) and len(atom.arguments) == 2:
                    first, second = atom.arguments
                    small = (first, second) if atom.function == "min" else (second, first)
                    return [
                        ([_with(r, atom, first) for r in rows], small),
                        ([_with(r, atom, second) for r in rows], small[::-1]),
                    ]
    return []


def _with(row: Polynomial, atom: Atom, replacement: Polynomial) -> Polynomial:
    """The row with one atom replaced wherever it stands as a factor."""
    total = Polynomial.constant(0)
    for monomial, c in row.terms:
        product = Polynomial.constant(c)
        for factor in monomial:
            product = product.times(replacement if factor == atom else Polynomial.of({(factor,): 1}))
        total = total.plus(product)
    return total


def _in_order(
    orders: Iterable[tuple[Polynomial, Polynomial]], values: Values
) -> tuple[tuple[Polynomial, Polynomial], ...]:
    """The orders that are not decided yet. Raises Contradiction when one does not hold."""
    left = []
    for small, large in orders:
        a, b = small.substitute(values), large.substitute(values)
        low, high = a.known(), b.known()
        if low is None or high is None:
            left.append((a, b))
        elif low > high:
            raise Contradiction
    return tuple(left)


def _edges(orders: Iterable[tuple[Polynomial, Polynomial]]) -> list[tuple[str, int]]:
    """Per field that must reach or stay below a number, that number."""
    found = []
    for small, large in orders:
        for side, other in ((small, large.known()), (large, small.known())):
            match side.terms:
                case (((str(field),), 1),) if other is not None:
                    found.append((field, other))
    return found


def _multiples(
    divisors: Sequence[tuple[Polynomial, str]], values: Values, fields: frozenset[str]
) -> dict[str, int]:
    """Per open field, a number that it must divide because a rule says so."""
    common: dict[str, int] = {}
    for multiple, field in divisors:
        number = multiple.at(values)
        if field in fields and number:
            common[field] = gcd(common.get(field, 0), number)
    return common


def _branch(
    rows: Sequence[Polynomial], common: dict[str, int], rules: SearchRules
) -> tuple[str, Sequence[int]] | None:
    """The field with the fewest possible values, and these; None when nothing bounds any field.

    common: per field, a number that it must divide.
    """
    bounds = Bounds(rules, common)
    for row in rows:
        bounds.read(row)
    open_fields = {field for row in rows for field in row.fields()}
    choices = bounds.choices(open_fields) or bounds.counted_up()
    return min(choices, key=lambda choice: (len(choice[1]), choice[0]), default=None)
