"""The conditions of a page, and the defaults that it computes: Python's own syntax, read but never executed.

Any form outside the few below is refused: and/or/not, comparisons, arithmetic, `in`, indexing, `len min max int
range sum`, `a if c else b`, and lists, written out or as `[… for slot in range(n)]`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from weightsmith.errors import InvalidPage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value = Any  # what a config field may hold: int, bool, str, None or a list of those


@dataclass(frozen=True, slots=True)
class Condition:
    """When a tensor exists, or what every config of the family obeys. `names` are the fields and slots it reads."""

    text: str
    names: frozenset[str]
    holds: Callable[[Mapping[str, Value]], bool]


@cache
def parse_condition(text: str) -> Condition:
    """Raises InvalidPage outside the forms that this file's head names."""
    tree = syntax(text)
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
    return _evaluator(syntax(text), text, set())


def syntax(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise invalid(text) from error


def invalid(text: str) -> InvalidPage:
    return InvalidPage(repr(text), "is not an equation", "see docs/families.md for the equation language")


def field_name(node: ast.expr) -> str | None:
    """`a` and `text_config.a` are fields; the dots are part of the name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = field_name(node.value)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (len, min, max, int, range, sum)
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
    name = field_name(node)
    if name is not None:
        names.add(name)
        return lambda values: values[name]
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | str):
            return lambda values: value
        case ast.Constant(value=float(number)):
            return lambda values: number
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]) if function in _FUNCTIONS:
            call, given = _FUNCTIONS[function], [_evaluator(a, text, names) for a in arguments]
            return lambda values: call(*(argument(values) for argument in given))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            asked, then, otherwise = (_evaluator(part, text, names) for part in (test, body, orelse))
            return lambda values: then(values) if asked(values) else otherwise(values)
        case ast.ListComp(
            elt=element, generators=[ast.comprehension(target=ast.Name(id=slot), iter=over, ifs=[])]
        ):
            inside: set[str] = set()
            item, items_of = _evaluator(element, text, inside), _evaluator(over, text, names)
            names |= inside - {slot}
            return lambda values: [item({**values, slot: i}) for i in items_of(values)]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            positive = _evaluator(operand, text, names)
            return lambda values: -positive(values)
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
    raise invalid(text)
