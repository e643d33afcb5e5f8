"""Reads equations backwards: every assignment of positive integers that makes polynomials equal measured sizes.

Three steps, repeated until nothing moves: put in what is known; eliminate over *monomials* as if each product
were a variable of its own (this alone determines MLA); take roots of what then stands alone. What is left
falls into components that share no field; each is searched by trying the divisors of a size for a field that
divides every term of an equation. The search is exhaustive or says that it was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Limit, Polynomial
from weightsmith.shapes.solve.field_bounds import Bounds, SearchRules
from weightsmith.shapes.solve.propagation import Contradiction, Values, propagate

__all__ = ["Component", "Contradiction", "Solved", "solve"]

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.page.expression import Atom

# A search that branches more often than this has too little to go on; its result is marked incomplete.
MAX_NODES = 6_000
MAX_SOLUTIONS = 3_000


@dataclass(frozen=True, slots=True)
class Component:
    """Fields that constrain each other and what they can be together.

    solutions: each assigns the fields that it determines and leaves the others free. exhaustive: there are no
    others. complete: nor is any field free in one of them.
    """

    fields: frozenset[str]
    solutions: tuple[Mapping[str, int], ...]
    complete: bool
    exhaustive: bool


@dataclass(frozen=True, slots=True)
class Solved:
    """`known` holds in every solution; the components list the rest."""

    known: Mapping[str, int]
    components: tuple[Component, ...]


def solve(
    equations: Iterable[tuple[Polynomial, int]],
    known: Mapping[str, int] | None = None,
    divisors: Sequence[tuple[Polynomial, str]] = (),
    zeroable: frozenset[str] = frozenset(),
    hints: Mapping[str, int] | None = None,
    flags: frozenset[str] = frozenset(),
) -> Solved:
    """All integer solutions of `polynomial = size` for every pair, positive or, for `zeroable` fields, 0.

    known: fields that are decided already. divisors: (polynomial, field) pairs where the field is known to
    divide the polynomial. hints: values to try for fields that nothing bounds; they complete a solution, never
    the search. flags: fields that are 0 or 1. Raises Contradiction when there is no solution.
    """
    values = dict(known or {})
    polynomials = [p.plus(Polynomial.constant(size), -1) for p, size in equations]
    rows = propagate(polynomials, values, zeroable | flags)
    rules = SearchRules(tuple(divisors), zeroable, hints or {}, flags)
    components = tuple(_search_component(part, values, rules) for part in _split(rows))
    if any(c.complete and not c.solutions for c in components):
        raise Contradiction
    return Solved(values, components)


def _split(rows: Sequence[Polynomial]) -> list[list[Polynomial]]:
    """Equations grouped so that no field is in two groups; satisfied ones are gone."""
    groups: list[tuple[set[str], list[Polynomial]]] = []
    for row in rows:
        fields, members = set(row.fields()), [row]
        if not fields:
            continue
        apart = []
        for group in groups:
            if group[0] & fields:
                fields |= group[0]
                members = group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (fields, members)]
    return [members for _, members in groups]


@dataclass(frozen=True, slots=True)
class _Node:
    """A state of the search. orders: pairs whose first must not exceed the second, from min and max cases."""

    rows: Sequence[Polynomial]
    values: Values
    orders: tuple[tuple[Polynomial, Polynomial], ...] = ()


def _search_component(rows: list[Polynomial], known: Values, rules: SearchRules) -> Component:
    fields = frozenset().union(*(row.fields() for row in rows)) - set(known)
    solutions: dict[tuple[tuple[str, int], ...], Values] = {}
    nodes = 0
    complete = exhaustive = True
    stack = [_Node(rows, dict(known))]
    while stack:
        node = stack.pop()
        nodes += 1
        if nodes > MAX_NODES or len(solutions) >= MAX_SOLUTIONS:
            complete = exhaustive = False
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
        if not (fields - set(values)):
            found = {field: values[field] for field in fields}
            solutions[tuple(sorted(found.items()))] = found
            continue
        branch = _branch(rows, _multiples(rules.divisors, values, fields - set(values)), rules)
        if branch is None:
            complete = False
            found = {field: values[field] for field in fields if field in values}
            solutions[tuple(sorted(found.items()))] = found
            hinted = [f for f in sorted(fields - set(values)) if f in rules.hints]
            stack += [_Node(rows, {**values, f: rules.hints[f]}, orders) for f in hinted]
            stack += [_Node(rows, {**values, f: edge}, orders) for f, edge in _edges(orders)]
            continue
        field, candidates = branch
        stack += [_Node(rows, {**values, field: candidate}, orders) for candidate in reversed(candidates)]
    return Component(fields, tuple(solutions.values()), complete, exhaustive)


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
