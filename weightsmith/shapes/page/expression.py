"""The equation language: integer polynomials over config fields.

A page writes a dimension as Python would compute it (`num_attention_heads * head_dim`). It is parsed once, by
Python's own parser, into a value that can be evaluated forwards and solved backwards. Nothing is ever executed:
any syntax outside the few forms below is refused.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from weightsmith.shapes.page.condition import (
    Condition,
    Value,
    evaluate_default,
    field_name,
    invalid,
    parse_condition,
    syntax,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Atom", "Condition", "Floor", "Item", "Limit", "Monomial", "Polynomial", "Value"]
__all__ += ["evaluate_default", "parse_condition", "parse_polynomial"]


@dataclass(frozen=True, slots=True)
class Floor:
    """`numerator // denominator`, kept whole: floor division is not a polynomial."""

    numerator: Polynomial
    denominator: Polynomial


@dataclass(frozen=True, slots=True)
class Limit:
    """`min(a, b)`, `max(a, b)`, or rounded to 0: `int(a)`, a product with a fraction in it, and `int(a / b)`."""

    function: str
    arguments: tuple[Polynomial, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """`widths[layer]`: an element of a list field. Once its index is known it is the plain atom "widths[3]"."""

    owner: str
    index: Polynomial


# A config field by its dotted name ("widths[3]" and "len(widths)" stand for what they say), or one of the above.
Atom = str | Floor | Limit | Item
Monomial = tuple[Atom, ...]  # a product of atoms, sorted; () is the constant 1


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
                product = tuple(sorted(left + right, key=str))
                total[product] = total.get(product, 0) + a * b
        return Polynomial.of(total)

    def floor_divided_by(self, other: Polynomial) -> Polynomial:
        a, b = self.known(), other.known()
        if a is not None and b:
            return Polynomial.constant(a // b)
        return Polynomial.of({(Floor(self, other),): 1})

    def substitute(self, values: Mapping[str, Value]) -> Polynomial:
        """The same polynomial with every field in `values` replaced by its number."""
        total: dict[Monomial, int] = {}
        for monomial, c in self.terms:
            rest: list[Atom] = []
            for atom in monomial:
                known = _atom_value(atom, values)
                if isinstance(known, int):
                    c *= known
                else:
                    rest.append(known)
            key = tuple(sorted(rest, key=str))
            total[key] = total.get(key, 0) + c
        return Polynomial.of(total)

    def known(self) -> int | None:
        """The value when no field is left in it."""
        if not self.terms:
            return 0
        if len(self.terms) == 1 and self.terms[0][0] == ():
            return self.terms[0][1]
        return None

    def __str__(self) -> str:
        pieces = []
        for monomial, c in self.terms:
            factors = [_atom_text(atom) for atom in monomial]
            if abs(c) != 1 or not factors:
                factors.insert(0, str(abs(c)))
            pieces.append(("- " if c < 0 else "+ ") + " * ".join(factors))
        return " ".join(pieces).removeprefix("+ ") or "0"


def _atom_value(atom: Atom, values: Mapping[str, Value]) -> int | Atom:
    match atom:
        case str():
            value = _look_up(atom, values)
            return atom if value is None or isinstance(value, str | list | tuple | dict) else int(value)
        case Floor(numerator=over, denominator=under):
            numerator, denominator = over.substitute(values), under.substitute(values)
            known = numerator.floor_divided_by(denominator).known()
            return known if known is not None else Floor(numerator, denominator)
        case Item(owner=owner, index=index):
            position = index.substitute(values)
            number = position.known()
            return Item(owner, position) if number is None else _atom_value(f"{owner}[{number}]", values)
        case Limit(function="int", arguments=(product,)):
            exact = _exact(product, values)
            return atom if exact is None else int(exact)
        case Limit(function="int", arguments=(over, under)):
            exact, divisor = _exact(over, values), _exact(under, values)
            return int(exact / divisor) if exact is not None and divisor else atom
        case Limit(function=function, arguments=arguments):
            parts = tuple(argument.substitute(values) for argument in arguments)
            numbers = [number for part in parts if (number := part.known()) is not None]
            if len(numbers) < len(parts):
                return Limit(function, parts)
            return min(numbers) if function == "min" else max(numbers)


def _look_up(atom: str, values: Mapping[str, Value]) -> Value:
    """The value of a field, or of "widths[3]" and "len(widths)" where the list is known."""
    if atom in values:
        return values[atom]
    if atom.endswith("]"):
        owner, _, index = atom[:-1].partition("[")
        items = values.get(owner)
        known = isinstance(items, list | tuple) and -len(items) <= int(index) < len(items)
        return items[int(index)] if known else None  # type: ignore[index]
    if atom.startswith("len("):
        items = values.get(atom[4:-1])
        return len(items) if isinstance(items, list | tuple) else None
    return None


def _exact(product: Polynomial, values: Mapping[str, Value]) -> float | None:
    """The value before rounding, None while a field of it is not known."""
    total = 0.0
    for monomial, c in product.terms:
        term: float = c
        for atom in monomial:
            value = _look_up(atom, values) if isinstance(atom, str) else _atom_value(atom, values)
            if not isinstance(value, int | float):
                return None
            term *= value
        total += term
    return total


def _atom_text(atom: Atom) -> str:
    match atom:
        case str():
            return atom
        case Floor():
            return f"(({atom.numerator}) // ({atom.denominator}))"
        case Item():
            return f"{atom.owner}[{atom.index}]"
        case Limit(function="int", arguments=(over, under)):
            return f"int(({over}) / ({under}))"
        case Limit():
            return f"{atom.function}({', '.join(map(str, atom.arguments))})"


@cache
def parse_polynomial(text: str) -> Polynomial:
    """Raises InvalidPage when the text is not made of + - * // ** n, min max int( / ) len [], integers, fields."""
    return _polynomial(syntax(text), text)


def _polynomial(node: ast.expr, text: str) -> Polynomial:
    name = field_name(node)
    if name is not None:
        return Polynomial.of({(name,): 1})
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Polynomial.constant(node.value)
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Polynomial.constant(0).plus(_polynomial(operand, text), -1)
        case ast.Subscript(value=ast.Name() | ast.Attribute() as owner, slice=index) if field_name(owner):
            position = _polynomial(index, text)
            known, listed = position.known(), field_name(owner) or ""
            return Polynomial.of({(Item(listed, position) if known is None else f"{listed}[{known}]",): 1})
        case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]) if field_name(argument):
            return Polynomial.of({(f"len({field_name(argument)})",): 1})
        case ast.Call(func=ast.Name(id="int"), args=[ast.BinOp(op=ast.Div()) as quotient], keywords=[]):
            sides = _polynomial(quotient.left, text), _polynomial(quotient.right, text)
            return Polynomial.of({(Limit("int", sides),): 1})
        case ast.Call(func=ast.Name(id="min" | "max" | "int" as function), args=arguments, keywords=[]):
            if len(arguments) == (1 if function == "int" else 2):
                parts = tuple(_polynomial(argument, text) for argument in arguments)
                return Polynomial.of({(Limit(function, parts),): 1})
    if isinstance(node, ast.BinOp):
        left, right = _polynomial(node.left, text), _polynomial(node.right, text)
        match node.op:
            case ast.Add():
                return left.plus(right)
            case ast.Sub():
                return left.plus(right, -1)
            case ast.Mult():
                return left.times(right)
            case ast.FloorDiv():
                return left.floor_divided_by(right)
            case ast.Pow() if right.known() in (2, 3, 4):
                power = left
                for _ in range((right.known() or 1) - 1):
                    power = power.times(left)
                return power
    raise invalid(text)
