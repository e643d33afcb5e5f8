"""The equations that a checkpoint states: one per slot count and per axis of every tensor, with its witnesses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.predict import active_variant
from weightsmith.shapes.solver import Contradiction, Solved, solve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.shapes.expression import Polynomial, Value
    from weightsmith.shapes.matching import Role
    from weightsmith.shapes.page import Divisors, Page, Variant


@dataclass(frozen=True, slots=True)
class Evidence:
    """One tensor that bears on a field. axis and size are None where its presence alone is the evidence."""

    tensor: str
    axis: int | None
    size: int | None
    equation: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One equation, how many tensors attest it, and the first of them."""

    polynomial: Polynomial
    size: int
    tensors: int
    evidence: Evidence


def count_facts(roles: Iterable[Role]) -> Iterator[Fact]:
    """A slot's count is one more than the largest index seen, over all tensors that count by the same field."""
    largest: dict[Polynomial, tuple[int, str]] = {}
    for role in roles:
        if not role.tensors:
            continue
        first = next(iter(role.tensors.values())).name
        for slot, top in zip(role.pattern.slots, role.tops, strict=True):
            if top > largest.get(slot.count, (-1, ""))[0]:
                largest[slot.count] = top, first
    for count, (top, name) in largest.items():
        yield Fact(count, top + 1, 1, Evidence(name, None, top + 1, f"{count} (indices 0 to {top})"))


def plain_facts(roles: Iterable[Role]) -> Iterator[Fact]:
    """The axes of the tensors that have one possible shape: what is there must have it, whatever the flags."""
    for role in roles:
        if len(role.pattern.variants) == 1:
            for shape, (tensors, first) in role.shapes.items():
                yield from _axes(role.pattern.variants[0], shape, tensors, first)


def chosen_facts(roles: Iterable[Role], values: Mapping[str, Value]) -> list[Fact] | None:
    """The axes of the tensors whose shape depends on flags, under `values`.

    None when a shape does not even have the right number of axes: then the flags are not these.
    """
    facts: list[Fact] = []
    for role in roles:
        if len(role.pattern.variants) == 1:
            continue
        alike: dict[tuple[Variant | None, tuple[int, ...]], tuple[int, str]] = {}
        for indices, tensor in role.tensors.items():
            case = active_variant(role.pattern, indices, values), tensor.shape
            count, first = alike.get(case, (0, tensor.name))
            alike[case] = count + 1, first
        for (variant, shape), (tensors, first) in alike.items():
            if variant is None:
                continue
            if len(variant.shape) != len(shape):
                return None
            facts += _axes(variant, shape, tensors, first)
    return facts


def _axes(variant: Variant, shape: tuple[int, ...], tensors: int, first: str) -> Iterator[Fact]:
    if len(variant.shape) != len(shape):
        return
    for axis, (polynomial, size) in enumerate(zip(variant.shape, shape, strict=True)):
        yield Fact(polynomial, size, tensors, Evidence(first, axis, size, variant.texts[axis]))


def solve_facts(
    facts: Iterable[Fact], page: Page, known: Mapping[str, int] | None = None, *, strict: bool = False
) -> Solved:
    """Solves what the facts say; where they contradict each other, the majority of tensors speaks.

    strict: raises Contradiction instead of taking sides.
    """
    tally: dict[Polynomial, Counter[int]] = {}
    for fact in facts:
        tally.setdefault(fact.polynomial, Counter())[fact.size] += fact.tensors
    if strict and any(len(sizes) > 1 for sizes in tally.values()):
        raise Contradiction
    equations = [(polynomial, sizes.most_common(1)[0][0]) for polynomial, sizes in tally.items()]
    zeroable = zeroable_fields(page)
    try:
        return solve(equations, known, page.divisors, zeroable)
    except Contradiction:
        if strict:
            raise
    weight = {polynomial: sum(sizes.values()) for polynomial, sizes in tally.items()}
    ranked = sorted(equations, key=lambda e: -weight[e[0]])
    return _solve_greedily(ranked, page.divisors, known, zeroable)


def _solve_greedily(
    equations: Sequence[tuple[Polynomial, int]],
    divisors: Divisors,
    known: Mapping[str, int] | None,
    zeroable: frozenset[str],
) -> Solved:
    """Takes the best-attested equations as long as they agree; the rest will show as misfits."""
    kept: list[tuple[Polynomial, int]] = []
    solved = Solved(dict(known or {}), ())
    for equation in equations:
        try:
            solved = solve([*kept, equation], known, divisors, zeroable)
        except Contradiction:
            continue
        kept.append(equation)
    return solved


def zeroable_fields(page: Page) -> frozenset[str]:
    """Fields that may be 0 in a sum: those whose default is 0 or absent, and counts that are added to others."""
    found = {name for name, field in page.fields.items() if field.expression is None and not field.value}
    for patterns in page.layouts.values():
        for pattern in patterns:
            for slot in pattern.slots:
                if len(slot.count.terms) > 1:
                    found |= slot.count.fields()
    return frozenset(found)
