"""Learns when something exists: the shortest and/or of tests on fields and indices that fits every observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import parse_condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set

    from weightsmith.shapes.page.value import Value

Row = tuple[Mapping[str, "Value"], bool]
_MAX_LITERALS = 400
_MAX_CLAUSES = 1500
_MAX_CONSTANTS = 12
_MAX_OFFSET = 16


@dataclass(frozen=True, slots=True)
class Clause:
    """A test, and the rows on which it holds as the bits of a number."""

    text: str
    mask: int
    cost: float


def learn_condition(
    rows: Sequence[Row], fields: Iterable[str], slots: Mapping[str, str | None], known: Iterable[str] = ()
) -> str | None:
    """The text of a condition that is true exactly on the true rows; "" when all are true, None when none fits.

    known: conditions of other roles: a bias exists where its weight does, if a flag says so, too.
    slots: index name → the field that counts it, if it is a plain field.
    """
    names = [*dict.fromkeys(fields), *slots]
    distinct: dict[str, Row] = {}
    for values, label in rows:
        narrow = {name: values[name] for name in names if name in values}
        for count in slots.values():
            if count and count in values:
                narrow[count] = values[count]
        key = repr(narrow)
        if key in distinct and distinct[key][1] != label:
            return None
        distinct[key] = (narrow, label)
    examples = list(distinct.values())
    everything = (1 << len(examples)) - 1
    target = sum(1 << i for i, (_, label) in enumerate(examples) if label)
    if target == everything:
        return ""
    if not target:
        return None
    tests = candidate_tests(examples, [n for n in names if n not in slots], slots)
    literals = _literals([*tests, *((text, 1.5) for text in known)], examples, everything)
    best = _search(literals, target, everything)
    return best.text if best else None


def _literals(texts: Iterable[tuple[str, float]], examples: Sequence[Row], everything: int) -> list[Clause]:
    """One clause per set of rows: of two tests that no row tells apart, the simpler one."""
    best: dict[int, Clause] = {}
    for text, cost in texts:
        condition = parse_condition(text)
        truths = [condition.truth(values) for values, _ in examples]
        if None in truths:
            continue
        mask = sum(1 << i for i, truth in enumerate(truths) if truth)
        if mask not in (0, everything) and (mask not in best or best[mask].cost > cost):
            best[mask] = Clause(text, mask, cost)
    return sorted(best.values(), key=lambda c: (c.cost, c.text))[:_MAX_LITERALS]


def candidate_tests(
    examples: Sequence[Row], fields: Sequence[str], slots: Mapping[str, str | None]
) -> Iterator[tuple[str, float]]:
    """(test, cost): the comparisons that transformers' code makes with configs; the commonest cost least."""
    numbers, lists = [], []
    for name in fields:
        seen = [values.get(name) for values, _ in examples]
        kinds = {type(value) for value in seen}
        yield from _plain_tests(name, seen, kinds)
        if int in kinds or float in kinds:
            numbers.append(name)
            yield from _number_tests(name, seen, optional=type(None) in kinds)
        if tuple in kinds:
            lists.append(name)
            yield f"len({name}) > 0", 1.5
    for a, b in combinations(numbers, 2):
        for sign in ("==", "!=", "<", "<=", ">", ">="):
            yield f"{a} {sign} {b}", 2.0
        yield f"{a} % {b} == 0", 2.5
        yield f"{b} % {a} == 0", 2.5
    for slot, count in slots.items():
        yield from _slot_tests(slot, count, numbers, lists, examples)


def _plain_tests(name: str, seen: Sequence[Value], kinds: Set[type]) -> Iterator[tuple[str, float]]:
    """Whether a field is null, true, or one of its words."""
    if type(None) in kinds:
        yield f"{name} is None", 1.1
        yield f"{name} is not None", 1.0
    if bool in kinds:
        yield name, 1.0
        yield f"not {name}", 1.0
    for value in sorted({v for v in seen if isinstance(v, str)}):
        yield f"{name} == {value!r}", 1.1
        yield f"{name} != {value!r}", 1.2


def _number_tests(name: str, seen: Sequence[Value], *, optional: bool) -> Iterator[tuple[str, float]]:
    """Comparisons with the numbers that the field had; the smaller the constant, the simpler the test."""
    guard = f"{name} is not None and " if optional else ""
    for number in sorted({v for v in seen if isinstance(v, int | float)})[:_MAX_CONSTANTS]:
        yield f"{guard}{name} > {number}", 1.2 + 0.02 * abs(number) + 0.5 * optional
        yield f"{name} == {number}", 1.6 + 0.02 * abs(number)
        yield f"{name} != {number}", 1.6 + 0.02 * abs(number)
        yield f"{guard}{name} <= {number}", 1.3 + 0.02 * abs(number) + 0.5 * optional


def _slot_tests(
    slot: str, count: str | None, numbers: Sequence[str], lists: Sequence[str], examples: Sequence[Row]
) -> Iterator[tuple[str, float]]:
    small = [n for n in numbers if any(is_small(values.get(n)) for values, _ in examples)]
    for name in lists:
        yield from _item_tests(name, slot, small, examples)
    for text, cost in _arithmetic(slot, count, small):
        yield text, cost
        yield _opposite(text), cost + 0.1
    # Simpler than a period: `layer % heads == 0` says nothing else where there are more heads than layers.
    yield f"{slot} == 0", 1.65
    yield f"{slot} > 0", 1.65
    yield f"{slot} % 2 == 0", 2.2
    yield f"{slot} % 2 == 1", 2.2
    for constant in range(1, 9):
        yield f"{slot} < {constant}", 2.6
        yield f"{slot} >= {constant}", 2.6
        yield f"{slot} == {constant}", 2.8
    for period in range(3, 9):
        for rest in range(period):
            yield f"{slot} % {period} == {rest}", 3.0
            yield f"{slot} % {period} != {rest}", 3.0


def _item_tests(
    name: str, slot: str, small: Sequence[str], examples: Sequence[Row]
) -> Iterator[tuple[str, float]]:
    """What a list says about the index of a slot: its word, flag or number there, or whether it names the index."""
    lists = (listed for values, _ in examples if isinstance(listed := values.get(name), tuple))
    items = {str(v): v for listed in lists for v in listed if not isinstance(v, tuple)}
    if all(isinstance(v, str) for v in items.values()):
        for value in sorted(items):
            yield f"{name}[{slot}] == {value!r}", 1.0
            yield f"{name}[{slot}] != {value!r}", 1.05
            yield f"{name}[{slot} % len({name})] == {value!r}", 1.3
            yield from _rank_tests(f"sum([{name}[i] == {value!r} for i in range({slot})])", small)
    else:
        yield f"{slot} in {name}", 1.1
        yield f"{slot} not in {name}", 1.1
        if all(isinstance(v, int) for v in items.values()):
            yield from _size_changes(name, slot)
        yield f"{name}[{slot}]", 1.2
        yield f"not {name}[{slot}]", 1.2
        for item in list(items.values())[:_MAX_CONSTANTS]:
            if isinstance(item, int):
                yield f"{name}[{slot}] == {item}", 1.5
                yield f"{name}[{slot}] > {item}", 1.5


def _rank_tests(before: str, small: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Which one of its kind a layer is: the first few may have a block of their own, that the later ones share.

    before: how many layers before it are of the kind.
    """
    yield f"{before} == 0", 1.5
    for name in small:
        yield f"{before} < {name}", 1.55


def _size_changes(name: str, slot: str) -> Iterator[tuple[str, float]]:
    """Where a list of sizes changes from one index to the next, forwards (from 1 on) and backwards."""
    yield f"{name}[{slot}] != ({name}[{slot} - 1] if {slot} > 0 else 1)", 1.5
    yield f"{slot} > 0 and {name}[len({name}) - 1 - {slot}] != {name}[len({name}) - {slot}]", 1.6


def is_small(value: Value) -> bool:
    """Whether an index may be compared with the number: layers are compared with offsets, periods and counts."""
    return isinstance(value, int) and 0 <= value <= _MAX_OFFSET


def _opposite(text: str) -> str:
    for sign, other in ((" == ", " != "), (" <= ", " > "), (" < ", " >= ")):
        if sign in text:
            return text.replace(sign, other)
    return f"not ({text})"


def _arithmetic(slot: str, count: str | None, numbers: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name in numbers:
        if name != count:
            yield f"{slot} < {name}", 1.2
            yield f"{slot} <= {name}", 1.6
            yield f"{slot} == {name}", 1.6
            yield f"{slot} % {name} == 0", 1.7
            yield f"({slot} + 1) % {name} == 0", 1.7
            yield f"{slot} % {name} == {name} - 1", 1.9
            yield f"{slot} % {name} == {name} // 2", 2.0
            yield f"{slot} % {name} == 1", 2.0
        if count and name != count:
            yield f"{slot} < {count} - {name}", 1.5
            yield f"{slot} <= {count} - {name}", 1.9
            yield f"({slot} + 1) % max({count} // {name}, 1) == 0", 2.0
        for other in numbers:
            if other not in (name, count) and name != count:
                yield f"({slot} - {other}) % {name} == 0", 1.9
                yield f"{slot} % {name} == {other}", 1.9
                yield f"({slot} + 1) % {name} == {other}", 2.1
                yield f"max({slot} - {other} + 1, 0) % {name} == 0", 2.4
                yield f"{slot} < {name} + {other}", 2.2
    if count:
        yield f"{slot} == {count} - 1", 1.8
        yield f"{slot} < {count} // 2", 2.3
        for k in (2, 3):
            yield f"{slot} < {count} - {k}", 2.6


def _search(literals: Sequence[Clause], target: int, everything: int) -> Clause | None:
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


def _joined(clauses: Sequence[Clause], target: int, size: int, word: str) -> list[Clause]:
    joined = (_join(group, word) for group in combinations(clauses, size))
    return [clause for clause in joined if clause.mask == target]


def _join(group: Sequence[Clause], word: str) -> Clause:
    mask = group[0].mask
    for clause in group[1:]:
        mask = mask & clause.mask if word == "and" else mask | clause.mask
    text = f" {word} ".join(_bracketed(c.text, word) for c in group)
    return Clause(text, mask, sum(c.cost for c in group))


def _bracketed(text: str, word: str) -> str:
    other = " or " if word == "and" else " and "
    return f"({text})" if other in text else text


def _cover(clauses: Sequence[Clause], target: int, everything: int, word: str) -> list[Clause]:
    """Greedy: for `and`, clauses that hold on the target and together exclude the rest; for `or`, the reverse."""
    left = everything & ~target if word == "and" else target
    chosen: list[Clause] = []
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
