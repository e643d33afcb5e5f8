"""Rules that every valid config keeps: divisibility and order, learned from what the reference refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit import language
from weightsmith.shapes.learn.fit.check import always_holds, mask_of
from weightsmith.shapes.learn.fit.language import filled
from weightsmith.shapes.learn.names import (
    ATTENTION_HEADS,
    BODY_WIDTH,
    GROUPS,
    HEAD_WIDTH,
    SIZE,
    are_beside,
    is_field,
    plausibility,
    section_of,
)
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.page.value import is_number, is_number_list, numbers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.page.value import Value

_NULL = "which numbers are null together?"
_ARITHMETIC = ("ZeroDivisionError", "ValueError: math domain error")
_SMALL = 16
_MAX_RULES = 16
# Widths per head up to this occur in the fixtures of tests only: a reference may let odd ones of them pass.
_TOY = 4
# A rule that was never put to the test by different numbers is a coincidence.
_MIN_SUPPORT = 4
_MIN_FLAGS, _MIN_BROKEN, _MIN_BEYOND = 3, 2, 3
_FEW_FIELDS = 2
# So many numbers of one sub-config take part in rules about products, those that are called sizes before others.
_MAX_SIZES = 14
# A rule, and the fields that it reads.
RuleText = tuple[str, tuple[str, ...]]


def learn_rules(found: FieldSurvey) -> list[str]:
    """Tests that hold in everything that was built and fail in something that was not."""
    lab = found.lab
    own = {n: v for n, v in found.base.values.items() if is_field(n)}
    fields = [n for n, v in own.items() if (isinstance(v, int) and n in lab.base) or _number_lists(v)]
    accepted = [_numbers(o.values, fields) for o in lab.observations]
    # Of no layers none is checked: what built without any refutes no rule about them.
    counted = [n for n, v in numbers_of(found.base.values).items() if n in found.counts and v > 0]
    accepted = [v for v in accepted if len(v) == len(fields) and all(v.get(n) != 0 for n in counted)]
    refusals = _refusals(found, fields)
    refused, steps, places = [r.values for r in refusals], [r.steps for r in refusals], range(len(refusals))
    candidates: list[_Candidate] = []
    built, not_built = (list(map(_sizes, rows)) for rows in (accepted, refused))
    measured = [*_bounds(found, fields, built, not_built, steps), *_even_shares(fields, built)]
    # Every number divides 0: what was never built with another value says nothing about those beside it.
    nothing = {n for n in fields if is_number(found.base.values[n]) and not any(v[n] for v in accepted)}
    for text, names in _candidates(fields, found.base.values, measured):
        if nothing.intersection(names):
            continue
        kept = mask_of(text, refused)
        broken = frozenset() if kept is None else frozenset(i for i in places if not kept >> i & 1)
        if not broken or not always_holds(text, accepted):
            continue
        flags = all(isinstance(found.base.values[n], bool) for n in names)
        seen = len({repr([v[n] for n in names]) for v in accepted})
        if min(steps[i] for i in broken) > len(names):
            continue  # nothing that was refused broke this rule alone
        enough = _MIN_FLAGS if flags or " == " in text.removesuffix(" == 0") else _MIN_SUPPORT
        if seen >= enough and (not flags or len(broken) >= _MIN_BROKEN):
            candidates.append(_Candidate(text, len(names), broken))
    return _chosen(candidates, _complaints(refusals))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """values: of all fields. steps: by how many settings it differs from the base. why: the reference's words."""

    values: dict[str, Value]
    steps: int
    why: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    """broken: the refusals that the rule would explain. reads: how many fields it binds."""

    text: str
    reads: int
    broken: frozenset[int]


def _chosen(candidates: Sequence[_Candidate], complaints: Sequence[frozenset[int]]) -> list[str]:
    """The simplest rule behind every complaint that one explains whole, then the fewest that explain the rest.

    Products of several fields explain any few refusals by chance: only a whole complaint speaks for one.
    """
    chosen: dict[str, _Candidate] = {}
    for complaint in sorted(complaints, key=len, reverse=True):
        whole = [c for c in candidates if complaint <= c.broken]
        if whole and not any(complaint <= c.broken for c in chosen.values()):
            best = min(whole, key=lambda c: (c.reads, -plausibility(c.text), -len(c.broken), len(c.text)))
            chosen[best.text] = best
    explained = frozenset[int]().union(*(c.broken for c in chosen.values()))
    left = [c for c in candidates if c.reads <= _FEW_FIELDS]
    while left and len(chosen) < _MAX_RULES:
        best = max(left, key=lambda c: (len(c.broken - explained), plausibility(c.text), -len(c.text)))
        if not best.broken - explained:
            break
        chosen[best.text] = best
        explained |= best.broken
    return list(chosen)


def _complaints(refusals: Sequence[_Refusal]) -> list[frozenset[int]]:
    """The refusals grouped by their message without its numbers: usually one check in the reference's code each."""
    rows: dict[str, set[int]] = {}
    for place, refusal in enumerate(refusals):
        rows.setdefault(re.sub(r"\d+", "#", refusal.why), set()).add(place)
    return [frozenset(places) for places in rows.values() if len(places) >= _MIN_BEYOND]


def _refusals(found: FieldSurvey, fields: Sequence[str]) -> list[_Refusal]:
    """The refusals in which every field is a number and none that matters is 0."""
    base = found.base.values
    sizes = numbers_of(base)
    matter = [n for n in found.accepted if sizes.get(n, 0) > 0]
    kept = []
    for settings, why in found.lab.refusals:
        values = _numbers({**base, **settings}, fields)
        own = _sizes(values)
        if len(values) == len(fields) and all(own[n] > 0 for n in matter if n in own):
            steps = sum(found.lab.base.get(n) != v for n, v in settings.items())
            kept.append(_Refusal(values, steps, why))
    return kept


def grouping_rules(found: FieldSurvey, quotients: Iterable[tuple[str, str]]) -> list[str]:
    """Key-value heads divide the heads. No constructor checks it, but a model that breaks it cannot run.

    quotients: (a, b) where the model's source computes `a // b` from its config.
    """
    rules = []
    for a, b in quotients:
        for name in found.accepted:
            prefix, _, last = name.rpartition(".")
            whole = f"{prefix}.{a}" if prefix else a
            if last == b and GROUPS.search(b) and whole in found.accepted:
                rules.append(f"{whole} % {name} == 0")
    return list(dict.fromkeys(rules))


def quotient_rules(found: FieldSurvey, quotients: Iterable[tuple[str, str]]) -> list[str]:
    """`b <= a` where the model computes `a // b`, was never built with a quotient of 0, and was refused with one."""
    rules = []
    for a, b in quotients:
        for name, own in found.base.values.items():
            prefix, _, last = name.rpartition(".")
            whole = f"{prefix}.{a}" if prefix else a
            if last != b or not (is_number(own) and is_number(found.base.values.get(whole))):
                continue
            built = (o.values for o in found.lab.observations)
            refused = (
                {**found.base.values, **settings}
                for settings, why in found.lab.refusals
                if why.startswith("ZeroDivisionError")
            )
            if any(_more(v, name, whole) for v in refused) and not any(_more(v, name, whole) for v in built):
                rules.append(f"{name} <= {whole}")
    return list(dict.fromkeys(rules))


def positive_rules(found: FieldSurvey) -> list[str]:
    """`a > 0` where a 0 breaks the model's arithmetic, or the class replaces it by another number."""
    base = found.lab.base
    divided = (settings for settings, why in found.lab.refusals if why.startswith(_ARITHMETIC))
    changed = ({n: v for n, v in settings.items() if base.get(n) != v} for settings in divided)
    single = (next(iter(c.items())) for c in changed if len(c) == 1)
    alone = list(dict.fromkeys(n for n, v in single if v == 0 and is_number(v)))
    alone += [n for n in found.replaced if n not in alone]
    return [f"{n} > 0" for n in alone if all(o.values.get(n) != 0 for o in found.lab.observations)]


def companion_rules(found: FieldSurvey, defaults: Mapping[str, Value]) -> list[str]:
    """`(a is None) == (b is None)` where the reference refuses one without the other.

    Tried with the numbers of one sub-config that are declared, null by default, and were set to show what they do.
    """
    lists = [{n: v} for n, values in found.accepted.items() for v in values if isinstance(v, tuple)]
    stated = {n: v for n, v in found.lab.base.items() if is_number(v) and n not in found.lab.hidden}
    optional = [name for name in stated if defaults.get(name, ...) is None]
    rules = []
    for section in dict.fromkeys(map(section_of, optional)):
        group = [name for name in optional if section_of(name) == section]
        bound = [name for name in group if found.lab.observe(Probe({name: None}, _NULL)) is None]
        together: dict[str, Value] = dict.fromkeys(bound)
        probes = (Probe({**together, **kinds}, _NULL) for kinds in ({}, *lists))
        if len(bound) > 1 and any(map(found.lab.observe, probes)):
            rules += [f"({bound[0]} is None) == ({other} is None)" for other in bound[1:]]
    return rules


def _more(values: Mapping[str, Value], a: str, b: str) -> bool:
    first, second = values.get(a), values.get(b)
    return isinstance(first, int) and isinstance(second, int) and first > second > 0


def _numbers(values: Mapping[str, Value], fields: Sequence[str]) -> dict[str, Value]:
    return {n: v for n in fields if isinstance(v := values.get(n), int | dict)}


def _number_lists(value: Value) -> list[str]:
    """The keys of an object of settings under which there are lists of sizes: the sections of a rotation."""
    items = value.items() if isinstance(value, dict) else ()
    return [k for k, sizes in items if is_number_list(sizes) and sizes]


def _sizes(values: Mapping[str, Value]) -> dict[str, int]:
    """The numbers, and the flags, with which Python counts, too."""
    return {n: v for n, v in values.items() if isinstance(v, int)}


def _bounds(
    found: FieldSurvey,
    fields: Sequence[str],
    accepted: Sequence[Mapping[str, int]],
    refused: Sequence[Mapping[str, int]],
    steps: Sequence[int],
) -> list[RuleText]:
    """`a < b` where `b - 1` was built and `b` refused; `a <= b` where `b` was built and `b + 1` refused."""
    bounds: list[RuleText] = []
    sizes = numbers_of(found.base.values)
    small = [n for n in fields if n in found.accepted and n in sizes and sizes[n] <= _SMALL]
    for a, b in permutations(small, 2):
        if not are_beside(a, b):
            continue
        built, not_built = ({v[a] - v[b] for v in rows} for rows in (accepted, refused))
        if -1 in built and 0 in not_built and max(built) < 0:
            bounds.append((f"{a} < {b}", (a, b)))
        elif 0 in built and 1 in not_built and max(built) <= 0:
            bounds.append((f"{a} <= {b}", (a, b)))
        elif max(built) < 0:
            # No edge was seen because other rules bite before; several refusals of one change each will do.
            alone = {(v[a], v[b]) for v, n in zip(refused, steps, strict=True) if n == 1 and v[a] >= v[b]}
            if len(alone) >= _MIN_BEYOND:
                bounds.append((f"{a} < {b}", (a, b)))
        alike = {v[a] for v in refused if v[a] == v[b]}
        if a < b and {-1, 1} <= built and 0 not in built and len(alike) >= _MIN_BEYOND:
            bounds.append((f"{a} != {b}", (a, b)))
        beyond, not_beyond = ({v[a] - 2 * v[b] for v in rows} for rows in (accepted, refused))
        if -1 in beyond and 0 in not_beyond and max(beyond) < 0:
            bounds.append((f"{a} < 2 * {b}", (a, b)))
    return bounds


def _even_shares(fields: Sequence[str], accepted: Sequence[Mapping[str, int]]) -> Iterator[RuleText]:
    """An even width per head where no field states the width; small odd ones that were built are excepted."""
    for a, b in permutations(fields, 2):
        stated = f"{section_of(a)}.{HEAD_WIDTH}".lstrip(".") in fields
        if stated or not (BODY_WIDTH.search(a) and ATTENTION_HEADS.search(b) and are_beside(a, b)):
            continue
        odd = {v[a] // v[b] for v in accepted if v[b] and v[a] // v[b] % 2}
        if not odd:
            yield f"({a} // {b}) % 2 == 0", (a, b)
        elif max(odd) <= _TOY:
            yield f"({a} // {b}) % 2 == 0 or {a} // {b} <= {max(odd)}", (a, b)


def _candidates(
    names: Sequence[str], base: Mapping[str, Value], bounds: Iterable[RuleText]
) -> Iterator[RuleText]:
    """(rule, the fields that it reads); only fields of one sub-config bind each other."""
    yield from bounds
    fields = [n for n in names if is_number(base[n])]
    yield from _flag_rules([n for n in names if isinstance(base[n], bool)])
    for a, b in permutations(fields, 2):
        if are_beside(a, b):
            yield from _rules(language.DIVIDES, a=a, b=b)
            if a < b:
                yield from _rules(language.SAME, a=a, b=b)
    for a in fields:
        yield from _rules(language.EVEN, a=a)
    yield from _sums(names, base)
    yield from _product_rules(fields)


def _rules(forms: Iterable[str], **fields: str) -> Iterator[RuleText]:
    return ((text, tuple(fields.values())) for text in filled(forms, **fields))


def _flag_rules(flags: Iterable[str]) -> Iterator[RuleText]:
    for a, b in permutations(flags, 2):
        if are_beside(a, b):
            yield from _rules(language.IMPLIES, a=a, b=b)
            if a < b:
                yield from _rules(language.EITHER, a=a, b=b)


def _product_rules(fields: Sequence[str]) -> Iterator[RuleText]:
    """Products of two sizes that a third one divides, or that equal the product of two others."""
    for section in dict.fromkeys(map(section_of, fields)):
        own = [f for f in fields if section_of(f) == section]
        sizes = sorted(own, key=lambda f: not SIZE.search(f))[:_MAX_SIZES]
        for a, b in combinations(sizes, 2):
            for c in sizes:
                if c not in (a, b):
                    yield from _rules(language.PRODUCT_DIVIDES, a=a, b=b, c=c)
            for c, d in combinations(sizes, 2):
                if len({a, b, c, d}) == 4:
                    yield from _rules(language.SAME_PRODUCTS, a=a, b=b, c=c, d=d)


def _sums(names: Sequence[str], base: Mapping[str, Value]) -> Iterator[RuleText]:
    """A size that the parts listed in an object beside it must add up to, or half of it."""
    for owner, key in ((n, key) for n in names for key in _number_lists(base[n])):
        for a in (n for n in names if is_number(base[n]) and are_beside(n, owner)):
            for text in filled(language.SUMS, a=f"{owner}[{key!r}]", b=a):
                yield text, (owner, a)
