"""Learns when something exists: the shortest and/or of tests on fields and indices that fits every observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.tests import Test, candidate_tests, distinct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.shapes.page.value import Value

Row = tuple[Mapping[str, "Value"], bool]
_MAX_LITERALS = 400
_MAX_CLAUSES = 1500
# What the condition of another role costs.
_KNOWN = 1.5


def learn_condition(
    rows: Sequence[Row], fields: Iterable[str], slots: Mapping[str, str | None], known: Iterable[str] = ()
) -> str | None:
    """The text of a condition that is true exactly on the true rows; "" when all are true, None when none fits.

    known: conditions of other roles: a bias exists where its weight does, if a flag says so, too.
    slots: index name → the field that counts it, if it is a plain field.
    """
    names = [*dict.fromkeys(fields), *slots]
    unlike: dict[str, Row] = {}
    for values, label in rows:
        narrow = {name: values[name] for name in names if name in values}
        for count in slots.values():
            if count and count in values:
                narrow[count] = values[count]
        key = repr(narrow)
        if key in unlike and unlike[key][1] != label:
            return None
        unlike[key] = (narrow, label)
    examples = list(unlike.values())
    everything = (1 << len(examples)) - 1
    target = sum(1 << i for i, (_, label) in enumerate(examples) if label)
    if target == everything:
        return ""
    if not target:
        return None
    told = [values for values, _ in examples]
    tests = candidate_tests(told, [n for n in names if n not in slots], slots)
    tried = distinct([*tests, *((text, _KNOWN) for text in known)], told)
    literals = sorted(tried, key=lambda one: (one.cost, one.text))[:_MAX_LITERALS]
    best = _search(literals, target, everything)
    return best.text if best else None


def _search(literals: Sequence[Test], target: int, everything: int) -> Test | None:
    """A single test, then two joined, then three, then sums of products and products of sums; cheapest first."""
    single = [c for c in literals if c.mask == target]
    if single:
        return min(single, key=lambda c: c.cost)
    wider = [c for c in literals if c.mask & target == target]
    narrower = [c for c in literals if c.mask | target == target]
    found = [*_joined(wider, target, 2, "and"), *_joined(narrower, target, 2, "or")]
    if not found:
        found = [*_joined(wider[:60], target, 3, "and"), *_joined(narrower[:60], target, 3, "or")]
    if not found:
        pairs = [_join(pair, "or") for pair in combinations(literals[:150], 2)]
        clauses = [c for c in pairs if c.mask & target == target]
        found += _cover([*wider, *clauses[:_MAX_CLAUSES]], target, everything, "and")
        pairs = [_join(pair, "and") for pair in combinations(literals[:150], 2)]
        clauses = [c for c in pairs if c.mask | target == target and c.mask]
        found += _cover([*narrower, *clauses[:_MAX_CLAUSES]], target, everything, "or")
    return min(found, key=lambda c: (c.cost, c.text), default=None)


def _joined(clauses: Sequence[Test], target: int, size: int, word: str) -> list[Test]:
    joined = (_join(group, word) for group in combinations(clauses, size))
    return [clause for clause in joined if clause.mask == target]


def _join(group: Sequence[Test], word: str) -> Test:
    mask = group[0].mask
    for clause in group[1:]:
        mask = mask & clause.mask if word == "and" else mask | clause.mask
    text = f" {word} ".join(_bracketed(c.text, word) for c in group)
    return Test(text, mask, sum(c.cost for c in group))


def _bracketed(text: str, word: str) -> str:
    other = " or " if word == "and" else " and "
    return f"({text})" if other in text else text


def _cover(clauses: Sequence[Test], target: int, everything: int, word: str) -> list[Test]:
    """Greedy: for `and`, clauses that hold on the target and together exclude the rest; for `or`, the reverse."""
    left = everything & ~target if word == "and" else target
    chosen: list[Test] = []
    while left and len(chosen) < 4:
        gain = [
            ((left & ~c.mask if word == "and" else left & c.mask).bit_count() / c.cost, c) for c in clauses
        ]
        best = max(gain, key=lambda pair: pair[0], default=(0, None))
        if not best[0] or best[1] is None:
            return []
        chosen.append(best[1])
        left = left & best[1].mask if word == "and" else left & ~best[1].mask
    if left or len(chosen) < 2:
        return chosen[:1] if chosen and not left else []
    return [_join(chosen, word)]
