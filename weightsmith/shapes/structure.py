"""Which flags and layer boundaries explain which tensors are there and which are not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from weightsmith.shapes.predict import slot_size
from weightsmith.shapes.stated import ODDITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.shapes.expression import Condition, Value
    from weightsmith.shapes.matching import Role
    from weightsmith.shapes.stated import Stated

# Beyond this many combinations the file's own values are kept and nothing is claimed from the weights.
MAX_COMBINATIONS = 50_000


@dataclass(frozen=True, slots=True)
class Choice:
    """Fields that conditions read, decided together.

    chosen: the cheapest explanation. cheapest: per field, the values that explain the names at that price.
    options: per field, every value that explains the names exactly (empty when none does or when there were
    too many to try).
    """

    chosen: Mapping[str, Value]
    cheapest: Mapping[str, tuple[Value, ...]]
    options: Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True, slots=True)
class _Observation:
    """Roles that exist under the same condition for the same indices, seen once.

    names, sizes: the slots that the condition reads and how many values each takes. present: the index
    combinations, over those slots, that have a tensor. copy: the
    tensor may be written although its condition does not hold; shared: its bytes are another tensor's.
    """

    conditions: tuple[Condition, ...]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    present: frozenset[tuple[int, ...]]
    copy: bool
    shared: bool


def decide(
    roles: Sequence[Role], known: Mapping[str, Value], stated: Stated, shared: frozenset[str]
) -> Choice:
    """Explains the presence of every conditional tensor; `shared`: names of tensors that share their bytes."""
    counted = {**stated.completed(), **known}
    observations: dict[_Observation, int] = {}
    for role in roles:
        if role.pattern.required and all(v.condition for v in role.pattern.variants):
            seen = _observe(role, counted, shared)
            observations[seen] = observations.get(seen, 0) + 1
    chosen: dict[str, Value] = {}
    cheapest: dict[str, tuple[Value, ...]] = {}
    options: dict[str, tuple[Value, ...]] = {}
    for fields, group in _linked(observations, known, stated):
        domains = [_domain(field, group, stated, counted.get(field)) for field in fields]
        trials: list[tuple[int, float, tuple[Value, ...]]] = []
        if prod(map(len, domains)) <= MAX_COMBINATIONS:
            for combination in product(*domains):
                values = {**known, **dict(zip(fields, combination, strict=True))}
                wrong = sum(observations[seen] * _unexplained(seen, values) for seen in group)
                price = stated.cost(fields, values) + sum(_oddity(seen, values) for seen in group)
                trials.append((wrong, price, combination))
        best = min((trial[:2] for trial in trials), default=None)
        kept = [combination for wrong, price, combination in trials if (wrong, price) == best]
        exact = [combination for wrong, _, combination in trials if not wrong]
        first = kept[0] if kept else tuple(counted.get(field) for field in fields)
        for position, field in enumerate(fields):
            chosen[field] = first[position]
            cheapest[field] = _distinct(c[position] for c in kept)
            options[field] = _distinct(c[position] for c in exact)
    return Choice(chosen, cheapest, options)


def _distinct(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(values))


def _observe(role: Role, counted: Mapping[str, Value], shared: frozenset[str]) -> _Observation:
    pattern = role.pattern
    conditions = tuple(variant.condition for variant in pattern.variants if variant.condition)
    read = frozenset().union(*(condition.names for condition in conditions))
    positions = [position for position, slot in enumerate(pattern.slots) if slot.name in read]
    return _Observation(
        conditions=conditions,
        names=tuple(pattern.slots[p].name for p in positions),
        sizes=tuple(slot_size(pattern, p, counted) for p in positions),
        present=frozenset(tuple(indices[p] for p in positions) for indices in role.tensors),
        copy=pattern.copy_of is not None,
        shared=any(tensor.name in shared for tensor in role.tensors.values()),
    )


def _fields(seen: _Observation, known: Mapping[str, Value], stated: Stated) -> set[str]:
    names = set().union(*(condition.names for condition in seen.conditions))
    return {name for name in names if name in stated.page.fields and name not in known}


def _linked(
    observations: Iterable[_Observation], known: Mapping[str, Value], stated: Stated
) -> list[tuple[list[str], list[_Observation]]]:
    """Observations grouped by the undecided fields that their conditions share."""
    groups: list[tuple[set[str], list[_Observation]]] = []
    for seen in observations:
        fields = _fields(seen, known, stated)
        members, apart = [seen], []
        if not fields:
            continue
        for group in groups:
            if group[0] & fields:
                fields |= group[0]
                members = group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (fields, members)]
    return [(sorted(fields), members) for fields, members in groups]


def _domain(field: str, group: Sequence[_Observation], stated: Stated, assumed: Value) -> list[Value]:
    """The values worth trying: both truths of a flag; every boundary between two indices for a number.

    One boundary beyond the last index stands for all that lie there: they explain the same names, so none of
    them is ever claimed.
    """
    default = stated.page.fields[field].value
    if isinstance(default, bool):
        return [default, not default]
    values: list[Value] = [assumed, default]
    concerned = [seen for seen in group if any(field in c.names for c in seen.conditions)]
    if any(f"{field} is" in c.text for seen in concerned for c in seen.conditions):
        values.append(None)
    sizes = [size for seen in concerned for size in seen.sizes]
    if sizes and not isinstance(assumed, str | list):
        values += range(max(sizes) + 2)
    return list(_distinct(tuple(v) if isinstance(v, list) else v for v in values))


def _unexplained(seen: _Observation, values: Mapping[str, Value]) -> int:
    """How many index combinations have a tensor that `values` do not predict, or lack one that they do."""
    wrong = 0
    for combination in product(*map(range, seen.sizes)):
        expected = _expected(seen, combination, values)
        actual = combination in seen.present
        wrong += expected != actual and not (seen.copy and actual)
    return wrong


def _oddity(seen: _Observation, values: Mapping[str, Value]) -> float:
    """The price of a copy that is stored though tied, or that shares its bytes though it is not."""
    if not (seen.copy and seen.present):
        return 0.0
    return ODDITY * (_expected(seen, next(iter(seen.present)), values) == seen.shared)


def _expected(seen: _Observation, combination: tuple[int, ...], values: Mapping[str, Value]) -> bool:
    environment = {**values, **dict(zip(seen.names, combination, strict=True))}
    try:
        return any(condition.holds(environment) for condition in seen.conditions)
    except (KeyError, TypeError, IndexError, ZeroDivisionError):
        return False
