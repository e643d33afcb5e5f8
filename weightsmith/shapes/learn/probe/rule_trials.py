"""Builds that test rules: one that was never seen to be broken may be a coincidence, and one may be missing."""

from __future__ import annotations

import math
import random
import re
from itertools import chain, permutations
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.names import HEADS, WIDTH, are_beside, is_field
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.learn.probe.trial_values import alternatives, list_kinds
from weightsmith.shapes.page.expression import parse_condition
from weightsmith.shapes.page.value import is_number, numbers_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.page.expression import Condition
    from weightsmith.shapes.page.value import Value

# So many configs that break a rule, and nothing else that is known, have to be refused.
_CHALLENGES, _DRAWS = 4, 60
_COMPARED = re.compile(r"[\w.]+ <=? [\w.]+")
_ODD = (3, 5, 7, 9)
_ARE_ODD = "are odd numbers taken?"
_SHARE = "may a share become 0?"
# A shorter list has no item beside the last.
_FEW_ITEMS = 2


def probe_refused(found: FieldSurvey) -> None:
    """Tries more values of numbers that no tensor depends on and that the reference checks, such as head widths."""
    base = found.base
    for name in found.refused:
        if name in found.accepted or not is_number(base.values.get(name)) or not is_field(name):
            continue
        for value in [*alternatives(found.words, name, base.values[name], all_of_them=True), 0]:
            tried = found.lab.observe(Probe({name: value}, "what does the reference check?", base, (name,)))
            if tried is not None and value == 0 and tried.values.get(name) != 0:
                found.replaced[name] = None


def probe_parity(found: FieldSurvey) -> None:
    """Tries odd numbers where only even ones were accepted, and odd widths per head.

    One or two refusals may be chance.
    """
    base = found.base.values
    for name, accepted in found.accepted.items():
        numbers = [v for v in accepted if is_number(v)]
        if len(numbers) < _CHALLENGES or name in found.counts or any(v % 2 for v in numbers):
            continue
        for value in (max(numbers) + odd for odd in _ODD):
            found.lab.observe(Probe({name: value}, _ARE_ODD, found.base, (name,)))
    sizes = numbers_of(base)
    for heads in (n for n in found.accepted if HEADS.search(n) and sizes.get(n, 0) > 0):
        for width in (n for n in found.accepted if WIDTH.search(n) and n in sizes):
            if are_beside(width, heads) and sizes[width] % sizes[heads] == 0:
                for odd in _ODD:
                    found.lab.observe(Probe({width: sizes[heads] * odd}, _ARE_ODD, found.base, (width,)))


def challenge(found: FieldSurvey, rules: Sequence[str], asked: set[str]) -> bool:
    """Builds configs that break one rule each, and says whether the reference accepted one, which refutes its rule.

    asked: rules that were tested before; the others are added.
    """
    before = len(found.lab.observations)
    parsed = {text: parse_condition(text) for text in rules}
    for text, rule in parsed.items():
        if text in asked:
            continue
        asked.add(text)
        others = [other for name, other in parsed.items() if name != text]
        for changes in _breaking(found, rule, others):
            if found.lab.observe(Probe(changes, f"it breaks the rule {text}")) is not None:
                break
    return len(found.lab.observations) > before


def _breaking(found: FieldSurvey, rule: Condition, others: Sequence[Condition]) -> Iterator[dict[str, Value]]:
    """A few settings of the rule's fields that break this rule and no other."""
    base, rng = found.base.values, random.Random(rule.text)
    tried = {n: _options(found, n) for n in sorted(rule.names) if n in base and not isinstance(base[n], dict)}
    options = {n: values for n, values in tried.items() if values}
    seen: set[str] = set()
    drawn = (
        {n: rng.choice(values) for n, values in options.items() if rng.random() < 0.7} for _ in range(_DRAWS)
    )
    for changes in chain(_edges(found, rule), drawn):
        if len(seen) >= _CHALLENGES:
            return
        values = {**base, **changes}
        key = repr(sorted(changes.items()))
        if key not in seen and not _holds(rule, values) and all(_holds(other, values) for other in others):
            seen.add(key)
            yield changes


def _edges(found: FieldSurvey, rule: Condition) -> Iterator[dict[str, Value]]:
    """Single changes that make one number as large as another that the rule compares it with, and larger by one.

    What is drawn may always change something beside the rule, too: a count is never drawn much larger than it is.
    """
    if not _COMPARED.fullmatch(rule.text):
        return
    sizes = numbers_of(found.base.values)
    for name, other in permutations(sorted(rule.names & sizes.keys()), 2):
        yield {name: sizes[other]}
        yield {name: sizes[other] + 1}


def _options(found: FieldSurvey, name: str) -> list[Value]:
    own = found.base.values[name]
    tried = [*found.accepted.get(name, []), *alternatives(found.words, name, own, all_of_them=True)]
    if isinstance(own, bool):
        return [v for v in tried if isinstance(v, bool)]
    most = 2 * own if name in found.counts and is_number(own) else math.inf
    return [v for v in tried if is_number(v) and 0 < v <= most]


def _holds(rule: Condition, values: Mapping[str, Value]) -> bool:
    return rule.truth(values) is not False


def share_rules(found: FieldSurvey) -> list[str]:
    """`heads <= width` where the model computes `width // heads` and the reference refuses a result of 0.

    Tried: as many heads as the width has channels, or half of them, which builds, and one more, which does not.
    """
    rules = []
    sizes = numbers_of(found.base.values)
    for heads in _divided_by(found):
        for width, values in found.accepted.items():
            own = values[0]
            if width == heads or not are_beside(width, heads) or width in found.counts:
                continue
            if not is_number(own) or own <= sizes[heads]:
                continue
            tries = (Probe({heads: number}, _SHARE) for number in (own, own // 2))
            fits = any(found.lab.observe(probe) is not None for probe in tries)
            edge = not _is_refused_at_zero(found, {heads: own}) and _is_refused_at_zero(
                found, {heads: own + 1}
            )
            if fits and edge and not _overtaken(found, heads, width):
                rules.append(f"{heads} <= {width}")
    return rules


def last_item_rules(found: FieldSurvey) -> list[str]:
    """`kinds[-1] == 'full'` where the class overwrites the last item of a list of words, whatever a config states.

    Tried: every other word, behind the base's own items, and behind none but what the class writes there.
    """
    rules = []
    for name in found.accepted:
        items = found.base.values.get(name)
        if not isinstance(items, tuple) or len(items) < _FEW_ITEMS:
            continue
        *rest, own = items
        words = [word for word in list_kinds(found.words, name, items) if word != own]
        stated = [(*others, word) for word in words for others in (rest, [own] * len(rest))]
        probes = [(one, Probe({name: one}, "is the last item overwritten?")) for one in stated]
        read = [(one, taken[name]) for one, probe in probes if (taken := found.lab.values(probe))]
        if isinstance(own, str) and read and all(taken == (*one[:-1], own) for one, taken in read):
            rules.append(f"{name}[-1] == {own!r}")
    return rules


def _divided_by(found: FieldSurvey) -> list[str]:
    """Numbers of heads that must not be 0 because the model divides by them, whether a tensor reads them or not."""
    numbers = [n for n, v in found.base.values.items() if is_number(v) and is_field(n) and HEADS.search(n)]
    return [n for n in numbers if _is_refused_at_zero(found, {n: 0})]


def _is_refused_at_zero(found: FieldSurvey, changes: Mapping[str, Value]) -> bool:
    """Whether the reference refuses the changes because something became 0."""
    if found.lab.observe(Probe(changes, _SHARE)) is not None:
        return False
    full = found.lab.settings(changes)
    return any(why.startswith("ZeroDivisionError") for s, why in found.lab.refusals if s == full)


def _overtaken(found: FieldSurvey, heads: str, width: str) -> bool:
    pairs = [(o.values.get(heads), o.values.get(width)) for o in found.lab.observations]
    return any(isinstance(a, int) and isinstance(b, int) and a > b for a, b in pairs)
