"""The equation language: integer polynomials over config fields.

A page writes a dimension as Python would compute it (`num_attention_heads * head_dim`). It is parsed once, by
Python's own parser, into a value that can be evaluated forwards and solved backwards. Nothing is ever executed:
any syntax outside the few forms below is refused.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from functools import cache, reduce
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from weightsmith.shapes.page.condition import (
    Condition,
    evaluate_default,
    field_name,
    invalid,
    parse_condition,
    syntax,
)
from weightsmith.shapes.page.field_names import At, Length, look_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Atom", "Condition", "Floor", "Item", "Limit", "Monomial", "Polynomial"]
__all__ += ["evaluate_default", "parse_condition", "parse_polynomial"]


@dataclass(frozen=True, slots=True)
class Floor:
    """`numerator // denominator`, kept whole: floor division is not a polynomial."""

    numerator: Polynomial
    denominator: Polynomial

    def __str__(self) -> str:
        return f"(({self.numerator}) // ({self.denominator}))"


@dataclass(frozen=True, slots=True)
class Limit:
    """`min(a, b)`, `max(a, b)`, or rounded to 0: `int(a)`, a product with a fraction in it, and `int(a / b)`."""

    function: str
    arguments: tuple[Polynomial, ...]

    def __str__(self) -> str:
        if self.function == "int" and len(self.arguments) == 2:
            return "int(({}) / ({}))".format(*self.arguments)
        return f"{self.function}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Item:
    """`widths[layer]`: an element of a list field whose index is not known yet; once it is, this is an `At`."""

    owner: str
    index: Polynomial

    def __str__(self) -> str:
        return f"{self.owner}[{self.index}]"


# A plain atom is a name: a config field or a slot by its dotted name, or the two names that know their parts, `At` and
# `Length`. Config values are kept by names, so only a name can be looked up, or solved for.
Atom: TypeAlias = str | Floor | Limit | Item
Monomial: TypeAlias = tuple[Atom, ...]  # a product of atoms, sorted by `_rank`; () is the constant 1


def _rank(atom: Atom) -> str:
    """The order of atoms in a product: what is kept whole first, then names by the alphabet."""
    return atom if isinstance(atom, str) else repr(atom)


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A sum of integer multiples of products of atoms; no term has coefficient 0, no product stands twice."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def of(terms: Mapping[Monomial, int]) -> Polynomial:
        kept = [(monomial, c) for monomial, c in terms.items() if c]
        return Polynomial(tuple(sorted(kept, key=lambda term: (-len(term[0]), str(term[0])))))

    @staticmethod
    def constant(value: int) -> Polynomial:
        return Polynomial.of({(): value})

    def fields(self) -> frozenset[str]:
        """Every config field that the value depends on."""
        return frozenset(self._fields())

    def _fields(self) -> Iterator[str]:
        for monomial, _ in self.terms:
            for atom in monomial:
                match atom:
                    case str():
                        yield atom
                    case Floor():
                        yield from atom.numerator._fields()
                        yield from atom.denominator._fields()
                    case Item():
                        yield atom.owner
                        yield from atom.index._fields()
                    case Limit():
                        for argument in atom.arguments:
                            yield from argument._fields()

    def plus(self, other: Polynomial, sign: int = 1) -> Polynomial:
        total = dict(self.terms)
        for monomial, c in other.terms:
            total[monomial] = total.get(monomial, 0) + sign * c
        return Polynomial.of(total)

    def times(self, other: Polynomial) -> Polynomial:
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in other.terms:
                product = tuple(sorted(left + right, key=_rank))
                total[product] = total.get(product, 0) + a * b
        return Polynomial.of(total)

    def floor_divided_by(self, other: Polynomial) -> Polynomial:
        a, b = self.known(), other.known()
        if a is not None and b:
            return Polynomial.constant(a // b)
        return Polynomial.of({(Floor(self, other),): 1})

    def substitute(self, values: Mapping[str, object]) -> Polynomial:
        """The same polynomial with every name in `values` replaced by its number.

        values: by names; what is no number there (a list, a word, null) stays a name.
        """
        return Polynomial.of(self._with(values))

    def _with(self, values: Mapping[str, object]) -> dict[Monomial, int]:
        """The terms that are left; some may have the coefficient 0."""
        total: dict[Monomial, int] = {}
        for monomial, c in self.terms:
            rest: list[Atom] = []
            for atom in monomial:
                known = _atom_value(atom, values)
                if isinstance(known, int):
                    c *= known
                else:
                    rest.append(known)
            key = tuple(sorted(rest, key=_rank)) if len(rest) > 1 else tuple(rest)
            total[key] = total.get(key, 0) + c
        return total

    def known(self) -> int | None:
        """The value when no field is left in it."""
        if not self.terms:
            return 0
        if len(self.terms) == 1 and self.terms[0][0] == ():
            return self.terms[0][1]
        return None

    def at(self, values: Mapping[str, object]) -> int | None:
        """The value with the given values put in; None where they do not determine it."""
        left = self._with(values)
        constant = left.pop((), 0)
        return None if any(left.values()) else constant

    def __str__(self) -> str:
        pieces = []
        for monomial, c in self.terms:
            factors = [str(atom) for atom in monomial]
            if abs(c) != 1 or not factors:
                factors.insert(0, str(abs(c)))
            pieces.append(("- " if c < 0 else "+ ") + " * ".join(factors))
        return " ".join(pieces).removeprefix("+ ") or "0"


def _atom_value(atom: Atom, values: Mapping[str, object]) -> int | Atom:
    match atom:
        case str():
            value = look_up(atom, values)
            return int(value) if _is_countable(value) else atom
        case Floor(numerator=over, denominator=under):
            numerator, denominator = over.substitute(values), under.substitute(values)
            known = numerator.floor_divided_by(denominator).known()
            return known if known is not None else Floor(numerator, denominator)
        case Item(owner=owner, index=index):
            position = index.substitute(values)
            number = position.known()
            return Item(owner, position) if number is None else _atom_value(At(owner, number), values)
        case Limit(function="int"):
            return _rounded(atom, values)
        case Limit(function=function, arguments=arguments):
            parts = tuple(argument.substitute(values) for argument in arguments)
            numbers = [number for part in parts if (number := part.known()) is not None]
            if len(numbers) < len(parts):
                return Limit(function, parts)
            return min(numbers) if function == "min" else max(numbers)


def _rounded(atom: Limit, values: Mapping[str, object]) -> int | Limit:
    """`int(a)` or `int(a / b)`, which stays whole until everything in it is known: a part of it may be a fraction."""
    exact = [_exact(argument, values) for argument in atom.arguments]
    match exact:
        case [float(product)] if math.isfinite(product):
            return int(product)
        case [float(over), float(under)] if under and math.isfinite(over / under):
            return int(over / under)
    return atom


def _is_countable(value: object) -> TypeGuard[float]:
    """A number that sizes can be reckoned from; a config may hold infinity and NaN, too."""
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _exact(product: Polynomial, values: Mapping[str, object]) -> float | None:
    """The value before rounding, None while a field of it is not known, or where it is too large to be rounded."""
    total = 0.0
    try:
        for monomial, c in product.terms:
            term: float = c
            for atom in monomial:
                value = look_up(atom, values) if isinstance(atom, str) else _atom_value(atom, values)
                if not _is_countable(value):
                    return None
                term *= value
            total += term
    except OverflowError:
        return None
    return total


@cache
def parse_polynomial(text: str) -> Polynomial:
    """Raises InvalidPage when the text is not made of + - * // ** n, min max int( / ) len [], integers, fields."""
    found = _polynomial(syntax(text))
    if found is None:
        raise invalid(text)
    return found


def _polynomial(node: ast.expr) -> Polynomial | None:
    """None for a form that the language does not have."""
    name = field_name(node)
    if name is not None:
        return _single(name)
    match node:
        case ast.Constant(value=int(number)) if type(number) is int:
            return Polynomial.constant(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            positive = _polynomial(operand)
            return None if positive is None else Polynomial.constant(0).plus(positive, -1)
        case ast.Subscript(value=ast.Name() | ast.Attribute() as owner, slice=index):
            return _item(field_name(owner), _polynomial(index))
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]):
            return _call(function, arguments)
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = _polynomial(left), _polynomial(right)
            return None if a is None or b is None else _operation(operator, a, b)
    return None


def _single(atom: Atom) -> Polynomial:
    return Polynomial.of({(atom,): 1})


def _item(owner: str | None, index: Polynomial | None) -> Polynomial | None:
    if owner is None or index is None:
        return None
    known = index.known()
    return _single(Item(owner, index) if known is None else At(owner, known))


def _call(function: str, arguments: list[ast.expr]) -> Polynomial | None:
    match function, arguments:
        case "len", [argument]:
            listed = field_name(argument)
            return None if listed is None else _single(Length(listed))
        case "int", [ast.BinOp(left=over, op=ast.Div(), right=under)]:
            return _limit("int", [over, under])
        case ("int", [_]) | ("min" | "max", [_, _]):
            return _limit(function, arguments)
    return None


def _limit(function: str, arguments: list[ast.expr]) -> Polynomial | None:
    parts = [part for argument in arguments if (part := _polynomial(argument)) is not None]
    return _single(Limit(function, tuple(parts))) if len(parts) == len(arguments) else None


def _operation(operator: ast.operator, left: Polynomial, right: Polynomial) -> Polynomial | None:
    exponent = right.known() or 0
    match operator:
        case ast.Add():
            return left.plus(right)
        case ast.Sub():
            return left.plus(right, -1)
        case ast.Mult():
            return left.times(right)
        case ast.FloorDiv():
            return left.floor_divided_by(right)
        case ast.Pow() if exponent in (2, 3, 4):
            return reduce(Polynomial.times, [left] * exponent)
    return None
