"""The equations that a checkpoint states: one per slot count and per axis of every tensor, with its witnesses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.page.expression import Floor, Limit
from weightsmith.shapes.page.field_names import At
from weightsmith.shapes.page.predict import active_variant
from weightsmith.shapes.page.value import LONGEST_LIST, is_number
from weightsmith.shapes.solve.propagation import Contradiction, consistent
from weightsmith.shapes.solve.solver import solve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.checkpoint import Tensor
    from weightsmith.documents import EvidenceEntry
    from weightsmith.shapes.given.roles import Role
    from weightsmith.shapes.page.expression import Atom, Polynomial
    from weightsmith.shapes.page.page import Divisors, Page
    from weightsmith.shapes.page.pattern import Variant
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.relation import Relation


@dataclass(frozen=True, slots=True)
class TensorEvidence:
    """One tensor that bears on a field. axis and size are None where its presence alone is the evidence.

    statistic, margin: where its numbers tell, what they were measured by, and how clearly.
    """

    tensor: str
    axis: int | None
    size: int | None
    equation: str
    statistic: float | None = None
    margin: float | None = None

    def document(self) -> EvidenceEntry:
        """One entry of a field's `evidence` in the JSON contract."""
        entry: EvidenceEntry = {
            "tensor": self.tensor,
            "axis": self.axis,
            "size": self.size,
            "equation": self.equation,
        }
        if self.statistic is not None and self.margin is not None:
            entry["statistic"], entry["margin"] = self.statistic, self.margin
        return entry


@dataclass(frozen=True, slots=True)
class Fact:
    """One equation, how many tensors attest it, and the first of them."""

    polynomial: Polynomial
    size: int
    tensors: int
    evidence: TensorEvidence


def count_facts(roles: Iterable[Role]) -> Iterator[Fact]:
    """A slot's count is one more than the largest index seen, over all tensors that count by the same field."""
    largest: dict[Polynomial, tuple[int, str]] = {}
    for role in roles:
        if not role.tensors:
            continue
        names = [slot.name for slot in role.pattern.slots]
        first = next(iter(role.tensors.values())).name
        for place, slot in enumerate(role.pattern.slots):
            outer = [i for i, name in enumerate(names[:place]) if name in slot.count.fields()]
            tops = _tops_within(role, place, outer) if outer else {(): role.tops[place]}
            for indices, top in tops.items():
                at = dict(zip((names[i] for i in outer), indices, strict=True))
                count = slot.count.substitute(at) if outer else slot.count
                if top > largest.get(count, (-1, ""))[0]:
                    largest[count] = top, first
    for count, (top, name) in largest.items():
        yield Fact(count, top + 1, 1, TensorEvidence(name, None, top + 1, f"{count} (indices 0 to {top})"))


def _tops_within(role: Role, place: int, outer: Sequence[int]) -> dict[tuple[int, ...], int]:
    """For a slot that counts by outer ones: the largest index under each of their values."""
    found: dict[tuple[int, ...], int] = {}
    for indices in role.tensors:
        key = tuple(indices[i] for i in outer)
        found[key] = max(found.get(key, -1), indices[place])
    return found


def plain_facts(roles: Iterable[Role]) -> Iterator[Fact]:
    """The axes of the tensors that have one possible shape: what is there must have it, whatever the flags."""
    for role in roles:
        if len(role.pattern.variants) != 1:
            continue
        variant = role.pattern.variants[0]
        if _read_slots(role, variant):
            yield from _axes_by_slot(role, variant, role.tensors)
            continue
        for shape, (tensors, first) in role.shapes.items():
            yield from _axes(variant, variant.shape, shape, tensors, first)


def chosen_facts(roles: Iterable[Role], values: Mapping[str, Value]) -> list[Fact] | None:
    """The axes of the tensors whose shape depends on flags, under `values`.

    None when a shape does not even have the right number of axes: then the flags are not these.
    """
    facts: list[Fact] = []
    for role in roles:
        if len(role.pattern.variants) == 1:
            continue
        alike: dict[Variant, dict[tuple[int, ...], Tensor]] = {}
        for indices, tensor in role.tensors.items():
            variant = active_variant(role.pattern, indices, values)
            if variant is not None:
                alike.setdefault(variant, {})[indices] = tensor
        for variant, tensors in alike.items():
            if any(len(variant.shape) != len(tensor.shape) for tensor in tensors.values()):
                return None
            facts += _axes_by_slot(role, variant, tensors)
    return facts


def _read_slots(role: Role, variant: Variant) -> list[int]:
    """Places of the slots that the shape itself reads (`widths[layer]`)."""
    fields = frozenset().union(*(axis.fields() for axis in variant.shape))
    return [place for place, slot in enumerate(role.pattern.slots) if slot.name in fields]


def _axes_by_slot(role: Role, variant: Variant, tensors: Mapping[tuple[int, ...], Tensor]) -> Iterator[Fact]:
    """The axes of many tensors of one role, alike ones once."""
    read = _read_slots(role, variant)
    names = [role.pattern.slots[place].name for place in read]
    alike: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, str]] = {}
    for indices, tensor in tensors.items():
        case = tuple(indices[place] for place in read), tensor.shape
        count, first = alike.get(case, (0, tensor.name))
        alike[case] = count + 1, first
    for (places, shape), (count, first) in alike.items():
        at = dict(zip(names, places, strict=True))
        yield from _axes(variant, tuple(axis.substitute(at) for axis in variant.shape), shape, count, first)


def _axes(
    variant: Variant, axes: tuple[Polynomial, ...], shape: tuple[int, ...], tensors: int, first: str
) -> Iterator[Fact]:
    if len(axes) != len(shape):
        return
    for axis, (polynomial, size) in enumerate(zip(axes, shape, strict=True)):
        yield Fact(polynomial, size, tensors, TensorEvidence(first, axis, size, variant.texts[axis]))


def solve_facts(
    facts: Iterable[Fact],
    page: Page,
    known: Mapping[str, int] | None = None,
    hints: Mapping[str, Value] | None = None,
    *,
    strict: bool = False,
) -> list[Relation]:
    """Solves what the facts say; where they contradict each other, what most tensors say is taken.

    hints: what a loader would take, for fields that nothing bounds. strict: raises Contradiction instead of
    taking sides.
    """
    tally: dict[Polynomial, Counter[int]] = {}
    for fact in facts:
        if rounds(fact.polynomial):
            continue  # a fraction cannot be solved for: see ratios.py
        tally.setdefault(fact.polynomial, Counter())[fact.size] += fact.tensors
    if strict and any(len(sizes) > 1 for sizes in tally.values()):
        raise Contradiction
    equations = [(polynomial, sizes.most_common(1)[0][0]) for polynomial, sizes in tally.items()]
    zeroable, flags = zeroable_fields(page), _flags(page)
    try:
        return solve(equations, known, page.divisors, zeroable, _whole_numbers(hints), flags)
    except Contradiction:
        if strict:
            raise
    weight = {polynomial: sum(sizes.values()) for polynomial, sizes in tally.items()}
    ranked = sorted(equations, key=lambda e: -weight[e[0]])
    return _solve_greedily(ranked, page.divisors, known, zeroable, flags)


def _solve_greedily(
    equations: Sequence[tuple[Polynomial, int]],
    divisors: Divisors,
    known: Mapping[str, int] | None,
    zeroable: frozenset[str],
    flags: frozenset[str],
) -> list[Relation]:
    """Takes the best-attested equations as long as they agree; the rest will show as misfits."""
    kept: list[tuple[Polynomial, int]] = []
    for equation in equations:
        if consistent([*kept, equation], known or {}, zeroable | flags):
            kept.append(equation)
    while True:
        try:
            return solve(kept, known, divisors, zeroable, None, flags)
        except Contradiction:
            kept.pop()  # the least attested


def _flags(page: Page) -> frozenset[str]:
    single = {name for name, field in page.fields.items() if isinstance(field.value, bool)}
    lists = ((n, f.value) for n, f in page.fields.items() if isinstance(f.value, tuple))
    items = {At(n, i) for n, v in lists for i, item in enumerate(v) if isinstance(item, bool)}
    return frozenset(single | items)


def rounds(polynomial: Polynomial) -> bool:
    """Whether a product with a fraction in it is rounded somewhere in the equation."""
    return any(_rounded(atom) for monomial, _ in polynomial.terms for atom in monomial)


def _rounded(atom: Atom) -> bool:
    match atom:
        case Limit(function=function, arguments=arguments):
            return function == "int" or any(map(rounds, arguments))
        case Floor(numerator=numerator, denominator=denominator):
            return rounds(numerator) or rounds(denominator)
    return False


def _whole_numbers(hints: Mapping[str, Value] | None) -> dict[str, int]:
    """The numbers, those in lists by their places."""
    named = dict(hints or {})
    listed = [(name, items[:LONGEST_LIST]) for name, items in named.items() if isinstance(items, tuple)]
    named |= {At(name, place): item for name, items in listed for place, item in enumerate(items)}
    return {name: value for name, value in named.items() if is_number(value)}


def zeroable_fields(page: Page) -> frozenset[str]:
    """Fields that may be 0 in a sum: those whose default is 0 or absent, and counts that are added to others."""
    found = {name for name, field in page.fields.items() if field.expression is None and not field.value}
    for patterns in page.layouts.values():
        for pattern in patterns:
            for slot in pattern.slots:
                if len(slot.count.terms) > 1:
                    found |= slot.count.fields()
    return frozenset(found)
