"""All that fields can be together: partial solutions of equations and of conditions, joined and priced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING, NamedTuple

from weightsmith.shapes.given.config import CHANGE
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.solve.candidate_values import OTHER, distinct
from weightsmith.shapes.solve.published_values import published_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.shapes.given.config import Stated
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.presence import Group
    from weightsmith.shapes.solve.published_values import Measure
    from weightsmith.shapes.solve.solver import Component

# Pools that a rule ties together are combined only while that many combinations remain.
MAX_JOINT = 20_000


@dataclass(frozen=True, slots=True)
class Way:
    """One assignment of a pool's fields. odd: what it costs beside the corrections."""

    values: Mapping[str, Value]
    odd: float = 0.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Fields that are decided together. complete: there are no other ways. loose: fields with others all the same."""

    fields: frozenset[str]
    ways: tuple[Way, ...]
    complete: bool
    loose: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """The cheapest way of one pool, and what else each field could be.

    options: all values that explain the weights, best first, empty when they could not all be found. cheapest: what is
    left of them at the lowest price.
    """

    pool: Pool
    way: Way
    options: Mapping[str, tuple[Value, ...]]
    cheapest: Mapping[str, tuple[Value, ...]]


def from_component(component: Component) -> Pool:
    return Pool(component.fields, tuple(Way(s) for s in component.solutions), component.exhaustive)


def from_group(group: Group, known: Mapping[str, Value]) -> Pool:
    """The explanations that agree with what is known by now."""
    ways = []
    for combination, odd in zip(group.explanations, group.odd, strict=True):
        values = dict(zip(group.fields, combination, strict=True))
        if all(known[f] == v or _stands_for(f, v, known[f], group) for f, v in values.items() if f in known):
            ways.append(Way({f: v for f, v in values.items() if f not in known}, odd))
    fields = frozenset(group.fields) - set(known)
    return Pool(fields, tuple(ways), group.complete and group.exact, group.loose)


def _stands_for(field: str, tried: Value, known: Value, group: Group) -> bool:
    """A number tried beyond every boundary stands for all of them; whether this one is, the forward proof says."""
    return field in group.loose and is_number(tried) and is_number(known)


def join(pools: Iterable[Pool], stated: Stated) -> list[Pool]:
    """The pools, those that share a field or that a rule or a list ties together made one."""
    joined: list[Pool] = []
    for pool in pools:
        fields, group, apart = pool.fields, [pool], []
        for other in joined:
            if fields & other.fields or _tied(fields, other.fields, stated.page):
                fields, group = fields | other.fields, [*group, other]
            else:
                apart.append(other)
        joined = [*apart, _product(group) if len(group) > 1 else pool]
    return joined


def _tied(left: frozenset[str], right: frozenset[str], page: Page) -> bool:
    names = [rule.names for rule in page.rules]
    names += [length.fields() for length in page.lists.values()]
    return any(group & left and group & right for group in names)


def _product(group: Sequence[Pool]) -> Pool:
    """The natural join: ways that agree on the fields that pools share."""
    result = group[0]
    for pool in group[1:]:
        shared = tuple(sorted(result.fields & pool.fields))
        by_shared: dict[tuple[object, ...], list[Way]] = {}
        for way in pool.ways:
            by_shared.setdefault(_key(way, shared), []).append(way)
        ways: list[Way] = []
        for way in result.ways:
            key = _key(way, shared)
            exact = _FREE not in key and not any(_FREE in other for other in by_shared)
            keys = [key] if exact else [other for other in by_shared if _compatible(key, other)]
            for other in (w for k in keys for w in by_shared.get(k, ())):
                ways.append(Way({**way.values, **other.values}, way.odd + other.odd))
            if len(ways) > MAX_JOINT:
                return Pool(result.fields | pool.fields, (), False)
        result = Pool(
            result.fields | pool.fields,
            tuple(ways),
            result.complete and pool.complete,
            result.loose | pool.loose,
        )
    return result


_FREE = object()  # a field that a way leaves free: it agrees with every value


def _key(way: Way, shared: Sequence[str]) -> tuple[object, ...]:
    return tuple(way.values.get(field, _FREE) for field in shared)


def _compatible(left: tuple[object, ...], right: tuple[object, ...]) -> bool:
    return all(a is _FREE or b is _FREE or a == b for a, b in zip(left, right, strict=True))


def choose(pool: Pool, determined: Mapping[str, Value], stated: Stated) -> Decision:
    """The cheapest way: fewest corrections of the file, then what most published models have."""
    possible = [w for w in pool.ways if _keeps_rules(stated.page, {**determined, **w.values}, pool.fields)]
    measures = published_values().measures(pool.fields, stated.page) if len(pool.ways) > 1 else ()
    ranks = {id(way): _rank(pool.fields, way, determined, stated, measures) for way in possible or pool.ways}
    possible = sorted(possible or pool.ways, key=lambda way: ranks[id(way)])
    least = ranks[id(possible[0])].price if possible else None
    kept = [way for way in possible if ranks[id(way)].price == least]
    options: dict[str, tuple[Value, ...]] = {}
    cheapest: dict[str, tuple[Value, ...]] = {}
    for field in sorted(pool.fields):
        values = distinct(way.values[field] for way in possible if field in way.values)
        everywhere = all(field in way.values for way in possible)
        whole = pool.complete and everywhere and field not in pool.loose and not any(map(_unnamed, values))
        options[field] = tuple(values) if whole else ()
        cheapest[field] = tuple(distinct(w.values[field] for w in kept if field in w.values))
    return Decision(pool, next(iter(kept), Way({})), options, cheapest)


class _Rank(NamedTuple):
    """What orders the ways of one pool. Only the price tells anything; the rest orders what costs the same.

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
    way: Way,
    determined: Mapping[str, Value],
    stated: Stated,
    measures: Sequence[Measure],
) -> _Rank:
    values = {**determined, **way.values}
    likelihood = published_values().likelihood
    # A file that is silent counts as having the class default; without a file nobody has said anything.
    silent = [name for name in fields if not stated.has(name)] if stated.no_file else []
    by_class = [name for name in silent if not (measures and is_number(values.get(name)))]
    guessed = len(way.values) < len(fields) or any(map(_unnamed, way.values.values()))
    cost = stated.cost(fields.difference(silent), values) + stated.list_cost(values) + way.odd
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


def _unnamed(value: Value) -> bool:
    """A stand-in for values that no condition names, alone or in a list."""
    return value is OTHER or (isinstance(value, tuple) and OTHER in value)


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
