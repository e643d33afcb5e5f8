"""The conditions of a page, and the defaults that it computes: Python's own syntax, read but never executed.

Any form outside the few below is refused: and/or/not, comparisons, arithmetic, `in`, indexing, `len min max int
range sum`, `a if c else b`, and lists, written out or as `[… for slot in range(n)]`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from weightsmith.errors import InvalidPage
from weightsmith.guide import guide
from weightsmith.shapes.page.value import LONGEST_LIST

if TYPE_CHECKING:
    from weightsmith.shapes.page.value import Value

# What an expression may fail with where a value is unknown, null, of another type, infinite, or a list is too short.
_UNDECIDED = (KeyError, TypeError, IndexError, ArithmeticError, ValueError)

# Computes a part of an expression from the values of the names in it. Operands are untyped, as Python's own are: an
# operator that does not take one fails, and the expression is undecided.
_Evaluate: TypeAlias = Callable[[Mapping[str, object]], Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """When a tensor exists, or a rule that every valid config keeps. `names` are the fields and slots it reads."""

    text: str
    names: frozenset[str]
    evaluate: _Evaluate

    def truth(self, values: Mapping[str, object]) -> bool | None:
        """Whether the condition holds; None where `values` do not decide it.

        values: by the names of fields and slots. None is returned when one that is asked for is absent, or when
        Python could not compute the condition with them (an order of null and 3, an item beyond a list's end).
        """
        try:
            return bool(self.evaluate(values))
        except _UNDECIDED:
            return None


@cache
def parse_condition(text: str) -> Condition:
    """Raises InvalidPage outside the forms that this file's head names."""
    names: set[str] = set()
    evaluate = _Parser(text, names).evaluator(syntax(text))
    return Condition(text, frozenset(names), evaluate)


def evaluate_default(text: str, values: Mapping[str, object]) -> Value:
    """A default written as an expression of other fields; None when one of those is not known."""
    try:
        found: Value = _parse_value(text)(values)
    except _UNDECIDED:
        return None
    return found


@cache
def _parse_value(text: str) -> _Evaluate:
    return _Parser(text, set()).evaluator(syntax(text))


def syntax(text: str) -> ast.expr:
    """Python's tree of an expression. Raises InvalidPage."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise invalid(text) from error


def invalid(text: str) -> InvalidPage:
    return InvalidPage(
        repr(text), "is not an equation", f"see {guide('families.md')} for the equation language"
    )


def field_name(node: ast.expr) -> str | None:
    """`a` and `text_config.a` are fields; the dots are part of the name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = field_name(node.value)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def _numbers_only(function: Callable[[Any, Any], object]) -> Callable[[Any, Any], object]:
    """Of text, Python's `*` makes as much as a file says and `%` fills in a form of it: neither is reckoning."""

    def checked(left: object, right: object) -> object:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError
        return function(left, right)

    return checked


def _times(left: Any, right: Any) -> object:
    """A product of numbers, or a list repeated, which stays as short as lists are."""
    if isinstance(left, tuple) and isinstance(right, int) and len(left) * right <= LONGEST_LIST:
        return left * right
    return _product(left, right)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > LONGEST_LIST:
        raise ValueError
    return numbers


_product = _numbers_only(operator.mul)
_ARITHMETIC: dict[type[ast.operator], Callable[..., object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _times,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _numbers_only(operator.mod),
}
_FUNCTIONS: dict[str, Callable[..., object]] = {
    **{function.__name__: function for function in (len, min, max, int, sum)},
    "range": _range,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[..., object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in (b or ()),
    ast.NotIn: lambda a, b: a not in (b or ()),
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


@dataclass(frozen=True, slots=True)
class _Parser:
    """Turns the parts of one expression into closures that compute them.

    text: the whole expression, for errors. names: gathers the names that the expression reads.
    """

    text: str
    names: set[str]

    def evaluator(self, node: ast.expr) -> _Evaluate:
        """Raises InvalidPage for a form that the language does not have."""
        name = field_name(node)
        if name is not None:
            self.names.add(name)
            return lambda values: values[name]
        for part in (self._literal, self._operation, self._choice, self._list):
            found = part(node)
            if found is not None:
                return found
        raise invalid(self.text)

    def _literal(self, node: ast.expr) -> _Evaluate | None:
        match node:
            case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
                return lambda _: value
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _applied(operator.neg, [self.evaluator(operand)])
        return None

    def _operation(self, node: ast.expr) -> _Evaluate | None:
        """A function, arithmetic, or a comparison."""
        match node:
            case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]) if function in _FUNCTIONS:
                return _applied(_FUNCTIONS[function], [self.evaluator(a) for a in arguments])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _combined(_ARITHMETIC[type(op)], self.evaluator(left), self.evaluator(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
                return _combined(_COMPARISONS[type(op)], self.evaluator(left), self.evaluator(right))
            case ast.Subscript(value=owner, slice=index):
                return _combined(operator.getitem, self.evaluator(owner), self.evaluator(index))
        return None

    def _choice(self, node: ast.expr) -> _Evaluate | None:
        """What is decided by the truth of a part."""
        match node:
            case ast.IfExp(test=test, body=body, orelse=orelse):
                asked, then, otherwise = map(self.evaluator, (test, body, orelse))
                return lambda values: then(values) if asked(values) else otherwise(values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.evaluator(operand)
                return lambda values: not inner(values)
            case ast.BoolOp(op=junction, values=operands):
                parts = [self.evaluator(operand) for operand in operands]
                return _junction(parts, stops_at=isinstance(junction, ast.Or))
        return None

    def _list(self, node: ast.expr) -> _Evaluate | None:
        """A tuple, which is what a list is among the values of fields."""
        match node:
            case ast.ListComp(
                elt=element, generators=[ast.comprehension(target=ast.Name(id=slot), iter=over, ifs=[])]
            ):
                inside = _Parser(self.text, set())
                item, items_of = inside.evaluator(element), self.evaluator(over)
                self.names.update(inside.names - {slot})
                return _each(item, slot, items_of)
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                members = [self.evaluator(element) for element in elements]
                return lambda values: tuple(member(values) for member in members)
        return None


def _junction(parts: list[_Evaluate], *, stops_at: bool) -> _Evaluate:
    """`or` stops at the first part that is true, `and` at the first that is false: the parts after it are not read.

    A part that the values leave open matters only where none of the others decides.
    """

    def evaluate(values: Mapping[str, object]) -> bool:
        undecided: Exception | None = None
        for part in parts:
            try:
                if bool(part(values)) is stops_at:
                    return stops_at
            except _UNDECIDED as error:
                undecided = error
        if undecided is not None:
            raise undecided
        return not stops_at

    return evaluate


def _applied(function: Callable[..., object], arguments: list[_Evaluate]) -> _Evaluate:
    return lambda values: function(*(argument(values) for argument in arguments))


def _combined(function: Callable[..., object], left: _Evaluate, right: _Evaluate) -> _Evaluate:
    return lambda values: function(left(values), right(values))


def _each(item: _Evaluate, slot: str, items_of: _Evaluate) -> _Evaluate:
    """`[item for slot in items]`."""
    return lambda values: tuple(item({**values, slot: index}) for index in items_of(values))
