"""The one enumerator of tests: every form of the language over fields and indices, cheapest first.

A test is known by the rows on which it holds. Of two that no row tells apart the cheaper one is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit import language
from weightsmith.shapes.learn.fit.check import mask_of
from weightsmith.shapes.learn.fit.language import both_ways, priced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

    from weightsmith.shapes.page.value import Value

    Rows = Sequence[Mapping[str, Value]]
    Priced = Iterator[tuple[str, float]]

_MAX_CONSTANTS = 12
_MAX_OFFSET = 16


@dataclass(frozen=True, slots=True)
class Test:
    """mask: the rows on which it holds, as the bits of a number."""

    text: str
    mask: int
    cost: float


def distinct(texts: Iterable[tuple[str, float]], rows: Rows) -> Iterator[Test]:
    """The cheapest test for each set of rows, cheapest first; none that holds on all rows or on none."""
    known = {0, (1 << len(rows)) - 1}
    for text, cost in sorted(texts, key=lambda one: one[1]):
        mask = mask_of(text, rows)
        if mask is not None and mask not in known:
            known.add(mask)
            yield Test(text, mask, cost)


def candidate_tests(rows: Rows, fields: Sequence[str], slots: Mapping[str, str | None]) -> Priced:
    """(test, cost): the comparisons that transformers' code makes with configs; the commonest cost least.

    slots: index name → the field that counts it, if it is a plain field.
    """
    numbers, lists = [], []
    for name in fields:
        seen = [values.get(name) for values in rows]
        kinds = {type(value) for value in seen}
        yield from _plain_tests(name, seen, kinds)
        if int in kinds or float in kinds:
            numbers.append(name)
            yield from _number_tests(name, seen, optional=type(None) in kinds)
        if tuple in kinds:
            lists.append(name)
    for a, b in combinations(numbers, 2):
        yield from priced(language.PAIR, a=a, b=b)
    small = [n for n in numbers if any(is_small(values.get(n)) for values in rows)]
    for slot, count in slots.items():
        for name in lists:
            yield from _item_tests(name, slot, small, rows)
        yield from both_ways(_arithmetic(slot, count, small))
        yield from priced(language.SLOT, slot=slot)


def _plain_tests(name: str, seen: Sequence[Value], kinds: Set[type]) -> Priced:
    """Whether a field is null, true, or one of its words."""
    if type(None) in kinds:
        yield from priced(language.NULL, a=name)
    if bool in kinds:
        yield from priced(language.FLAG, a=name)
    for word in sorted({v for v in seen if isinstance(v, str)}):
        yield from priced(language.WORD, a=name, v=word)


def _number_tests(name: str, seen: Sequence[Value], *, optional: bool) -> Priced:
    """Comparisons with the numbers that the field had; the smaller the constant, the simpler the test."""
    forms = language.NUMBER_OR_NULL if optional else language.NUMBER
    for number in sorted({v for v in seen if isinstance(v, int | float)})[:_MAX_CONSTANTS]:
        yield from priced(forms, language.CONSTANT * abs(number), a=name, v=number)


def _item_tests(name: str, slot: str, small: Sequence[str], rows: Rows) -> Priced:
    """What a list says about the index of a slot: its word there, whether it names the index, or where it changes."""
    lists = (listed for values in rows if isinstance(listed := values.get(name), tuple))
    items = {str(v): v for listed in lists for v in listed if not isinstance(v, tuple)}
    if all(isinstance(v, str) for v in items.values()):
        for word in sorted(items):
            yield from priced(language.ITEM_WORD, a=name, slot=slot, v=word)
            for number in small:
                yield from priced(language.ITEM_WORD_AND_NUMBER, a=name, slot=slot, v=word, b=number)
        return
    yield from priced(language.NAMED, a=name, slot=slot)
    if all(isinstance(v, int) for v in items.values()):
        yield from priced(language.ITEM_CHANGE, a=name, slot=slot)


def is_small(value: Value) -> bool:
    """Whether an index may be compared with the number: layers are compared with offsets, periods and counts."""
    return isinstance(value, int) and 0 <= value <= _MAX_OFFSET


def _arithmetic(slot: str, count: str | None, numbers: Sequence[str]) -> Priced:
    others = [name for name in numbers if name != count]
    for a in others:
        yield from priced(language.SLOT_AND_NUMBER, slot=slot, a=a)
        if count:
            yield from priced(language.SLOT_FROM_THE_END, slot=slot, a=a, count=count)
        for b in (other for other in others if other != a):
            yield from priced(language.SLOT_AND_TWO_NUMBERS, slot=slot, a=a, b=b)
    if count:
        yield from priced(language.SLOT_AND_COUNT, slot=slot, count=count)
