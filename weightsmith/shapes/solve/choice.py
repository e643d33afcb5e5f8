"""Which row of a relation is taken: the fewest corrections of the config, then what most published models have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log2
from typing import TYPE_CHECKING, NamedTuple

from weightsmith.shapes.given.config import CHANGE
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.solve.published_values import published_values
from weightsmith.shapes.solve.relation import is_stand_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.published_values import Measure
    from weightsmith.shapes.solve.relation import Relation, Row


RULES = "rules"


def ranked(relation: Relation, determined: Mapping[str, Value], stated: Stated) -> tuple[Relation, Relation]:
    """(the rows that keep the rules of the family, the best first; those of them that cost as little as the best).

    determined: fields that are decided already.
    """
    possible = relation.select(
        lambda row: _keeps_rules(stated.page, {**determined, **row}, relation.fields), RULES
    )
    possible = possible if possible.rows else relation
    measures = published_values().measures(relation.fields, stated.page) if len(relation.rows) > 1 else ()
    ranks = [(_rank(relation.fields, row, determined, stated, measures), row) for row in possible.rows]
    ranks.sort(key=lambda pair: pair[0])
    cheapest = tuple(row for rank, row in ranks if rank.price == ranks[0][0].price)
    return replace(possible, rows=tuple(row for _, row in ranks)), replace(possible, rows=cheapest)


class _Rank(NamedTuple):
    """What orders the rows of one relation. Only the price tells anything; the rest orders what costs the same.

    price: whether something is left open, and the corrections of what is stated. unlike_class: without a file, how many
    class defaults do not hold. unlikely: how few published models have such values. unusual: how far the values are
    from the class defaults.
    """

    price: tuple[bool, float]
    unlike_class: float
    unlikely: float
    unusual: float


def _rank(
    fields: frozenset[str],
    row: Row,
    determined: Mapping[str, Value],
    stated: Stated,
    measures: Sequence[Measure],
) -> _Rank:
    values = {**determined, **row.values}
    likelihood = published_values().likelihood
    # A file that is silent counts as having the class default; without a file nobody has said anything.
    silent = [name for name in fields if not stated.has(name)] if stated.no_file else []
    by_class = [name for name in silent if not (measures and is_number(values.get(name)))]
    guessed = len(row.values) < len(fields) or any(map(is_stand_in, row.values.values()))
    cost = stated.cost(fields.difference(silent), values) + stated.list_cost(values) + row.price
    cost += CHANGE * _broken(fields, values, stated)
    return _Rank(
        (guessed, round(cost, 6)),
        round(stated.cost(by_class, values), 6),
        round(-sum(likelihood(measure, values) for measure in measures), 6),
        _unlikeliness(fields, values, stated.page),
    )


def _broken(fields: frozenset[str], values: Mapping[str, Value], stated: Stated) -> int:
    """How many rules are broken that bind the fields to ones that no tensor depends on, as the file states those.

    Numbers that the file leaves out may still be chosen to keep them; objects of settings are taken as the class has
    them, and weigh double: they are several numbers at once, and no tensor contradicts them.
    """
    broken = 0
    for rule in stated.page.rules:
        silent = {n: stated.assumed(n, values) for n in rule.names if n not in values}
        objects = [n for n, v in silent.items() if isinstance(v, Mapping)]
        if rule.names & fields and silent and all(stated.has(n) or n in objects for n in silent):
            broken += (rule.truth({**values, **silent}) is False) * (2 if objects else 1)
    return broken


def _unlikeliness(fields: frozenset[str], values: Mapping[str, Value], page: Page) -> float:
    """How many doublings lie between the values and the class defaults."""
    total = 0.0
    for name in fields:
        field, value = page.fields.get(name), values.get(name)
        default = field.default(values) if field else None
        if isinstance(value, int) and isinstance(default, int) and value > 0 and default > 0:
            total += abs(log2(value) - log2(default))
    return round(total, 6)


def _keeps_rules(page: Page, values: Mapping[str, Value], fields: frozenset[str]) -> bool:
    for rule in page.rules:
        if rule.names & fields and rule.names <= set(values) and not rule.truth(values):
            return False
    return True
