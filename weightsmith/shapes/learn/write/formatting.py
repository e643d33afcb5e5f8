"""Equations as a page writes them: factored, fields in the order of the report, floors in parentheses."""

from __future__ import annotations

import ast
import re
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.names import ORDER, REPORT
from weightsmith.shapes.page.expression import Floor, Item, Limit, Polynomial

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.shapes.page.expression import Atom, Monomial


def report_order(names: Iterable[str], is_flag: dict[str, bool]) -> list[str]:
    """hidden_size, layers, heads, …, vocab_size, other sizes, flags; text before vision."""

    def rank(name: str) -> tuple[bool, int, int, str]:
        *path, last = name.split(".")
        position = REPORT.index(last) if last in REPORT else len(REPORT)
        return is_flag[name], _path_rank(path), position, name

    return sorted(names, key=rank)


def _path_rank(path: Sequence[str]) -> int:
    if not path:
        return 0
    return 1 if "text" in path[0] or "decoder" in path[0] else 2


def say(polynomial: Polynomial) -> str:
    """`num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)`."""
    terms = list(polynomial.terms)
    if not terms:
        return "0"
    if len(terms) == 1:
        monomial, c = terms[0]
        return _product(monomial, c)
    common = terms[0][0]
    for monomial, _ in terms[1:]:
        common = _shared(common, monomial)
    divisor = reduce(gcd, (abs(c) for _, c in terms))
    if common or divisor > 1:
        rest = Polynomial.of({_without(m, common): c // divisor for m, c in terms})
        return _product(common, divisor) + f" * ({say(rest)})"
    for atom in sorted({a for m, _ in terms for a in m}, key=_rank):
        having = {_without(m, [atom]): c for m, c in terms if atom in m}
        others = {m: c for m, c in terms if atom not in m}
        if len(having) > 1:
            inner = say(Polynomial.of(having))
            outer = say(Polynomial.of(others)) if others else ""
            return f"{say_atom(atom)} * ({inner})" + (f" + {outer}" if outer else "")
    ordered = sorted(terms, key=lambda t: (t[1] < 0, not t[0], [_rank(a) for a in t[0]]))
    text = ""
    for monomial, c in ordered:
        sign = (" - " if c < 0 else " + ") if text else ("-" if c < 0 else "")
        text += sign + _product(monomial, abs(c))
    return text


def _shared(a: Monomial, b: Monomial) -> Monomial:
    rest, both = list(b), []
    for atom in a:
        if atom in rest:
            rest.remove(atom)
            both.append(atom)
    return tuple(both)


def _without(monomial: Monomial, atoms: Iterable[Atom]) -> Monomial:
    rest = list(monomial)
    for atom in atoms:
        rest.remove(atom)
    return tuple(rest)


def _product(monomial: Monomial, c: int) -> str:
    factors = [say_atom(atom) for atom in sorted(monomial, key=_rank)]
    if c == -1 and factors:
        return "-" + " * ".join(factors)
    if c != 1 or not factors:
        factors.insert(0, str(c))
    return " * ".join(factors)


def _rank(atom: Atom) -> tuple[int, int, str]:
    text = str(Polynomial.of({(atom,): 1}))
    last = re.split(r"[.\[]", text)[-1] if isinstance(atom, str) else ""
    return (0 if isinstance(atom, str) else 1), (ORDER.index(last) if last in ORDER else len(ORDER)), text


def say_atom(atom: Atom) -> str:
    match atom:
        case Floor(numerator=over, denominator=under):
            return f"({_factor(over)} // {_factor(under)})"
        case Item(owner=owner, index=index):
            return f"{owner}[{say(index)}]"
        case Limit(function="int", arguments=(over, under)):
            return f"int({_factor(over)} / {_factor(under)})"
        case Limit(function=function, arguments=arguments):
            return f"{function}({', '.join(map(say, arguments))})"
    return atom


def _factor(polynomial: Polynomial) -> str:
    text = say(polynomial)
    simple = len(polynomial.terms) == 1 and not re.search(r"[*/]", text)
    return text if simple else f"({text})"


def say_axis(polynomial: Polynomial) -> str:
    """An axis that is one floor needs no parentheses."""
    text = say(polynomial)
    match polynomial.terms:
        case ((((Floor(),)), 1),) if text.startswith("("):
            return text[1:-1]
    return text


def say_condition(text: str) -> str:
    """A condition without repeated parts: `(a and b) and (b and (b or c))` is `a and b`."""
    parts = _conjuncts(text)
    said = {part: _segments(part, ast.Or) for part in parts}
    kept = [part for part, any_of in said.items() if len(any_of) < 2 or said.keys().isdisjoint(any_of)]
    return " and ".join(f"({part})" if len(said[part]) > 1 and len(kept) > 1 else part for part in kept)


def _conjuncts(text: str) -> list[str]:
    """What must hold, each once: a conjunction within a conjunction is part of it."""
    inner = _segments(text, ast.And)
    return inner if len(inner) < 2 else list(dict.fromkeys(part for one in inner for part in _conjuncts(one)))


def _segments(text: str, junction: type[ast.boolop]) -> list[str]:
    """The operands of `and` or `or`, as they are written; the whole where it is none."""
    node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.BoolOp) or not isinstance(node.op, junction):
        return [text]
    return [ast.get_source_segment(text, operand) or "" for operand in node.values]
