"""The equation language: integer polynomials over config fields, and conditions on them.

A page writes a dimension as Python would compute it (`num_attention_heads * head_dim`) and a condition as
Python would test it (`layer >= first_k_dense_replace`). Both are parsed once, by Python's own parser, into
values that can be evaluated forwards and, for polynomials, solved backwards. Nothing is ever executed: any
syntax outside the few forms below is refused.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from weightsmith.errors import InvalidPage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Value = Any  # what a config field may hold: int, bool, str, None or a list of those


@dataclass(frozen=True, slots=True)
class Floor:
    """`numerator // denominator`, kept whole: floor division is not a polynomial."""

    numerator: Polynomial
    denominator: Polynomial


Atom = str | Floor  # a config field by its dotted name, or a floor division
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
                if isinstance(atom, str):
                    yield atom
                else:
                    yield from atom.numerator._fields()
                    yield from atom.denominator._fields()

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
    if isinstance(atom, str):
        value = values.get(atom)
        return atom if value is None or isinstance(value, str | list | dict) else int(value)
    numerator, denominator = atom.numerator.substitute(values), atom.denominator.substitute(values)
    quotient = numerator.floor_divided_by(denominator)
    known = quotient.known()
    return known if known is not None else Floor(numerator, denominator)


def _atom_text(atom: Atom) -> str:
    return atom if isinstance(atom, str) else f"({atom.numerator}) // ({atom.denominator})"


@dataclass(frozen=True, slots=True)
class Condition:
    """When a tensor exists, or what every config of the family obeys. `names` are the fields and slots it reads."""

    text: str
    names: frozenset[str]
    holds: Callable[[Mapping[str, Value]], bool]


@cache
def parse_polynomial(text: str) -> Polynomial:
    """Raises InvalidPage when the text is not built from +, -, *, //, ** n, integers and field names."""
    return _polynomial(_syntax(text), text)


@cache
def parse_condition(text: str) -> Condition:
    """Raises InvalidPage outside and/or/not, comparisons, arithmetic, `in`, indexing and literals."""
    tree = _syntax(text)
    names: set[str] = set()
    evaluate = _evaluator(tree, text, names)
    return Condition(text, frozenset(names), lambda values: bool(evaluate(values)))


def evaluate_default(text: str, values: Mapping[str, Value]) -> Value:
    """A default written as an expression of other fields; None when one of those is not known."""
    try:
        return _parse_value(text)(values)
    except (KeyError, TypeError, ZeroDivisionError, IndexError):
        return None


@cache
def _parse_value(text: str) -> Callable[[Mapping[str, Value]], Value]:
    return _evaluator(_syntax(text), text, set())


def _syntax(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise _invalid(text) from error


def _invalid(text: str) -> InvalidPage:
    return InvalidPage(repr(text), "is not an equation", "see docs/families.md for the equation language")


def _field_name(node: ast.expr) -> str | None:
    """`a` and `text_config.a` are fields; the dots are part of the name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _field_name(node.value)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def _polynomial(node: ast.expr, text: str) -> Polynomial:
    name = _field_name(node)
    if name is not None:
        return Polynomial.of({(name,): 1})
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Polynomial.constant(node.value)
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
    raise _invalid(text)


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.In: lambda a, b: a in (b or ()),
    ast.NotIn: lambda a, b: a not in (b or ()),
    ast.Is: lambda a, b: a is b,
    ast.IsNot: lambda a, b: a is not b,
}


def _evaluator(node: ast.expr, text: str, names: set[str]) -> Callable[[Mapping[str, Value]], Value]:
    """A closure that computes `node` from field and slot values, collecting the names that it reads."""
    name = _field_name(node)
    if name is not None:
        names.add(name)
        return lambda values: values[name]
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | str):
            return lambda values: value
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _evaluator(operand, text, names)
            return lambda values: not inner(values)
        case ast.BoolOp(op=operator, values=operands):
            parts = [_evaluator(operand, text, names) for operand in operands]
            combine = all if isinstance(operator, ast.And) else any
            return lambda values: combine(part(values) for part in parts)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            a, b, compute = (
                _evaluator(left, text, names),
                _evaluator(right, text, names),
                _ARITHMETIC[type(op)],
            )
            return lambda values: compute(a(values), b(values))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            x, y, compare = (
                _evaluator(left, text, names),
                _evaluator(right, text, names),
                _COMPARISONS[type(op)],
            )
            return lambda values: compare(x(values), y(values))
        case ast.Subscript(value=owner, slice=index):
            items, position = _evaluator(owner, text, names), _evaluator(index, text, names)
            return lambda values: items(values)[position(values)]
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            members = [_evaluator(element, text, names) for element in elements]
            return lambda values: [member(values) for member in members]
    raise _invalid(text)
