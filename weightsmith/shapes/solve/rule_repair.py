"""Values for fields that no shape of these weights depends on, and that the family's rules still bind.

Persimmon without its head norms has no tensor of head width, yet the heads must divide the hidden size: the class
default may be one that cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import log2, prod
from typing import TYPE_CHECKING, TypeGuard

from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.page.value import Settings, is_number
from weightsmith.shapes.solve.budget import BUDGET
from weightsmith.shapes.solve.choice import RULES
from weightsmith.shapes.solve.field_bounds import divisors_of
from weightsmith.shapes.solve.published_values import published_values
from weightsmith.shapes.solve.relation import Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.condition import Condition
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.solution import Solution

# Small numbers worth trying where a rule compares instead of dividing.
_SMALL = 17


def with_rules_kept(solution: Solution, stated: Stated) -> Solution:
    """Replaces defaults that break a rule by a likely value that keeps all rules; all of those are told.

    Likely is what most published models have, where that is known, else what is nearest to the default.

    What the file states is left alone, a null too, and so is what the weights decide. Only parts that must add up to
    a number that the weights decide follow it.
    """
    for rule in stated.page.rules:
        if _broken(rule, solution.values):
            solution = _with_default_replaced(rule, solution, stated)
        if _broken(rule, solution.values):
            solution = _with_parts_scaled(rule, solution, stated)
    return solution


def _with_default_replaced(rule: Condition, solution: Solution, stated: Stated) -> Solution:
    """With another value of the first field of the rule that is free to change and for which one keeps all rules."""
    values = solution.values
    for name in sorted(rule.names):
        own = values.get(name)
        if name in solution.decided or lookup(stated.config, name)[0] or not (own is None or _whole(own)):
            continue
        bound = [r for r in stated.page.rules if name in r.names]
        tried = _candidates(rule, name, values)
        kept = [v for v in tried if not any(_broken(r, {**values, name: v}) for r in bound)]
        if kept:
            # A number that must be there although the default is null: like what it is bound to.
            near = own or max(_numbers(rule.names, values), default=1)
            kept = sorted(kept, key=lambda v: (abs(log2(v) - log2(near)), v))
            published = published_values()
            for measure in published.measures([name], stated.page):
                kept.sort(key=lambda v: -published.likelihood(measure, {**values, name: v}))
            alone = len(kept) == 1 and name in stated.page.fields
            gap = "what the rule binds it to may be a default itself" if alone else ""
            return solution.deciding(Relation.column(RULES, name, kept, gap))
    return solution


def _with_parts_scaled(rule: Condition, solution: Solution, stated: Stated) -> Solution:
    """Parts that must add up to a number go with it, in proportion; those of the file, too, where weights tell it."""
    values = solution.values
    bound = [r for r in stated.page.rules if rule.names & r.names]
    objects = {n: v for n in sorted(rule.names) if isinstance(v := values.get(n), Mapping)}
    sums = [whole for number in _numbers(rule.names, values) for whole in (number, number // 2)]
    told = rule.names - set(objects) <= solution.decided.keys()
    for name, parts in objects.items():
        if not told and lookup(stated.config, name)[0]:
            continue
        for key, whole in product(parts, sums):
            scaled = Settings({**parts, key: _in_proportion(parts[key], whole)})
            if not any(_broken(r, {**values, name: scaled}) for r in bound):
                return solution.deciding(Relation.of(RULES, {name: scaled}))
    return solution


def _in_proportion(parts: Value, whole: int) -> Value:
    """Lists of sizes only; what rounding leaves over goes to the first."""
    sizes = [part for part in parts if _whole(part)] if isinstance(parts, tuple) else []
    if not isinstance(parts, tuple) or len(sizes) < len(parts) or not sum(sizes):
        return parts
    scaled = [size * whole // sum(sizes) for size in sizes]
    return (scaled[0] + whole - sum(scaled), *scaled[1:])


def broken_rules(page: Page, values: Mapping[str, Value]) -> int:
    """How many rules do not hold, of those all of whose fields have a value."""
    return sum(_broken(rule, values) for rule in page.rules)


def _candidates(rule: Condition, name: str, values: Mapping[str, Value]) -> Sequence[int]:
    """Divisors of the numbers that the rule sets beside the field, their products and doubles, and small numbers."""
    others = _numbers(rule.names - {name}, values)
    divided = [number for number in (prod(others), *others) if number <= BUDGET.factored]
    found = {*range(1, _SMALL), *(divisor for number in divided[:1] for divisor in divisors_of(number))}
    found |= {multiple * number for number in others for multiple in range(1, 9)}
    return sorted(found)


def _numbers(names: Iterable[str], values: Mapping[str, Value]) -> list[int]:
    """The numbers above 0 among the fields' values."""
    return [value for name in sorted(names) if _whole(value := values.get(name)) and value > 0]


def _whole(value: Value) -> TypeGuard[int]:
    """A number; 0 where a default became nothing: 8 channels over 16 heads."""
    return is_number(value) and value >= 0


def _broken(rule: Condition, values: Mapping[str, Value]) -> bool:
    """A rule that the values do not decide is not broken."""
    return rule.truth(values) is False
