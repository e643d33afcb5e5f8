"""Fields that no shape of these weights reads, and that the family's rules bind all the same.

Persimmon without its head norms has no tensor of head width, yet the heads must divide the hidden size: the class
default may be one that cannot be.
"""

from __future__ import annotations

from math import log2, prod
from typing import TYPE_CHECKING

from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.solve.solver import divisors_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.expression import Condition, Value
    from weightsmith.shapes.page.page import Page

Options = dict[str, tuple["Value", ...]]
# Small numbers worth trying where a rule compares instead of dividing.
_SMALL = 17


def obey(values: dict[str, Value], options: Options, cheapest: Options, stated: Stated) -> None:
    """Replaces defaults that break a rule by the nearest value that keeps all rules; `options` then lists those.

    What the file states is left alone, a null too, and so is what the weights have their say in: only parts that must
    add up to it follow.
    """
    for rule in stated.page.rules:
        if _holds(rule, values):
            continue
        free = [
            n
            for n in sorted(rule.names)
            if n not in options and not lookup(stated.config, n)[0] and _open(values.get(n))
        ]
        for name in free:
            bound = [r for r in stated.page.rules if name in r.names]
            kept = [
                v
                for v in _candidates(rule, name, values)
                if all(_holds(r, {**values, name: v}) for r in bound)
            ]
            if kept:
                # A number that must be there although the default is null: like what it is bound to.
                numbers: list[int] = [values[n] for n in rule.names if _number(values.get(n))]
                near: int = values[name] or max(numbers, default=1)
                values[name] = min(kept, key=lambda v: (abs(log2(v / near)), v))
                options[name], cheapest[name] = tuple(kept), tuple(kept)
                if len(kept) == 1 and name in stated.page.fields:
                    options[name] = ()  # what the rule binds it to may be a default itself: nothing is proven
                break
        if not _holds(rule, values):
            _scale_parts(rule, values, options, cheapest, stated)


def _scale_parts(
    rule: Condition, values: dict[str, Value], options: Options, cheapest: Options, stated: Stated
) -> None:
    """Parts that must add up to a number go with it, in proportion; those of the file, too, where weights tell it."""
    bound = [r for r in stated.page.rules if rule.names & r.names]
    objects = [n for n in sorted(rule.names) if isinstance(values.get(n), dict)]
    numbers: list[int] = [values[n] for n in sorted(rule.names) if _number(values.get(n))]
    told = rule.names - set(objects) <= options.keys()
    for name in (n for n in objects if told or not lookup(stated.config, n)[0]):
        for key, parts in values[name].items():
            for whole in (w for number in numbers for w in (number, number // 2)):
                kept = {name: {**values[name], key: _in_proportion(parts, whole)}}
                if all(_holds(r, {**values, **kept}) for r in bound):
                    values |= kept
                    options[name] = cheapest[name] = (kept[name],)
                    return


def _in_proportion(parts: Value, whole: int) -> Value:
    """Lists of sizes only; what rounding leaves over goes to the first."""
    if not (isinstance(parts, list) and parts and all(map(_whole, parts)) and sum(parts)):
        return parts
    scaled = [part * whole // sum(parts) for part in parts]
    return [scaled[0] + whole - sum(scaled), *scaled[1:]]


def broken_rules(page: Page, values: Mapping[str, Value]) -> int:
    """How many rules do not hold, of those all of whose fields have a value."""
    return sum(not _holds(rule, values) for rule in page.rules)


def _candidates(rule: Condition, name: str, values: Mapping[str, Value]) -> Sequence[int]:
    """Divisors of the numbers that the rule sets beside the field, their products and doubles, and small numbers."""
    others: list[int] = [values[n] for n in sorted(rule.names - {name}) if _number(values.get(n))]
    whole = prod(others)
    found = {*range(1, _SMALL), *divisors_of(whole)}
    found |= {multiple * number for number in others for multiple in range(1, 9)}
    return sorted(found)


def _open(value: Value) -> bool:
    return value is None or _whole(value)


def _whole(value: Value) -> bool:
    """A number; 0 where a default became nothing: 8 channels over 16 heads."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Value) -> bool:
    return _whole(value) and value > 0


def _holds(rule: Condition, values: Mapping[str, Value]) -> bool:
    """A rule that cannot be computed is not broken."""
    try:
        return rule.holds(values)
    except (KeyError, TypeError, IndexError, ZeroDivisionError):
        return True
