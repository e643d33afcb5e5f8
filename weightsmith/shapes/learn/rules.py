"""What every valid config obeys: the divisibility and order that explain why the reference refused some."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from weightsmith.shapes.expression import parse_condition
from weightsmith.shapes.learn.base import is_int

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.shapes.expression import Value
    from weightsmith.shapes.learn.survey import Survey

_MAX_RULES = 16


def learn_rules(found: Survey) -> list[str]:
    """Tests that hold in everything that was built and fail in something that was not, fewest first."""
    lab = found.lab
    fields = [n for n, v in found.base.values.items() if n in found.accepted and is_int(v)]
    accepted = [_numbers(o.values, fields) for o in lab.observations]
    refused = [_numbers({**found.base.values, **settings}, fields) for settings, _ in lab.refusals]
    accepted = [v for v in accepted if len(v) == len(fields)]
    refused = [v for v in refused if len(v) == len(fields) and all(n > 0 for n in v.values())]
    candidates: list[tuple[str, set[int]]] = []
    for text in _candidates(fields):
        rule = parse_condition(text)
        try:
            broken = {i for i, values in enumerate(refused) if not rule.holds(values)}
            if broken and all(rule.holds(values) for values in accepted):
                candidates.append((text, broken))
        except ZeroDivisionError:
            continue
    rules: list[str] = []
    explained: set[int] = set()
    while candidates and len(rules) < _MAX_RULES:
        text, broken = max(candidates, key=lambda c: (len(c[1] - explained), -len(c[0])))
        if len(broken - explained) < 1:
            break
        rules.append(text)
        explained |= broken
    return rules


def _numbers(values: Mapping[str, Value], fields: Sequence[str]) -> dict[str, int]:
    return {n: values[n] for n in fields if is_int(values.get(n))}


def _candidates(fields: Sequence[str]) -> Iterator[str]:
    for a, b in permutations(fields, 2):
        if a.rpartition(".")[0] == b.rpartition(".")[0]:
            yield f"{a} % {b} == 0"
            yield f"{a} <= {b}"
            yield f"{a} < {b}"
            yield f"{a} == {b}"
    for a in fields:
        for divisor in (2, 4, 8, 16, 32):
            yield f"{a} % {divisor} == 0"
    for a, b, c in permutations(fields, 3):
        if a < b and a.rpartition(".")[0] == b.rpartition(".")[0] == c.rpartition(".")[0]:
            yield f"{a} * {b} % {c} == 0"
