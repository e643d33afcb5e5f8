"""The first witness at work: one family page against one table of tensors.

Backwards: names give the layer counts and flags, shapes give equations, the solver gives every config that
explains them, and the smallest correction of the stated config is taken. Then forwards, as the proof: the
chosen config must predict exactly the names and shapes that are there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from weightsmith.shapes.matching import match
from weightsmith.shapes.predict import active_variant, index_range, shape_of
from weightsmith.shapes.solver import Component, Contradiction, Solved, solve
from weightsmith.shapes.structure import decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.checkpoint import Tensor
    from weightsmith.shapes.expression import Polynomial, Value
    from weightsmith.shapes.matching import Matching, NameTable, Role
    from weightsmith.shapes.page import Divisors, Page, Pattern, Variant
    from weightsmith.shapes.stated import Stated
    from weightsmith.shapes.structure import Choice

# Components that a rule ties together are combined only while that many combinations remain.
MAX_JOINT = 20_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """One tensor that bears on a field. axis and size are None where its presence alone is the evidence."""

    tensor: str
    axis: int | None
    size: int | None
    equation: str


@dataclass(frozen=True, slots=True)
class Misfit:
    """A tensor of the family whose shape no config explains together with the others."""

    tensor: str
    shape: tuple[int, ...]
    expected: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.tensor} is {list(self.shape)} where the others demand {list(self.expected)}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The config that explains the weights at the least cost, and how certain each field of it is.

    values: every field of the page. options: per field all values that explain the weights, empty when they
    could not all be found; a field without an entry is one that no equation of these weights mentions.
    cheapest: what is left of the options when as much of the stated config as possible is kept. partners: per
    field, the others that it was decided together with. cost: the corrections that the stated config needs.
    """

    values: Mapping[str, Value]
    options: Mapping[str, tuple[Value, ...]]
    cheapest: Mapping[str, tuple[Value, ...]]
    partners: Mapping[str, frozenset[str]]
    cost: float


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a page explains a checkpoint."""

    page: Page
    layout: str
    answer: Answer
    evidence: Mapping[str, tuple[Evidence, ...]]
    absent_roles: tuple[str, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    misfits: tuple[Misfit, ...]
    matched: int

    @property
    def explains(self) -> bool:
        """Every tensor is predicted, and every predicted tensor is there."""
        return not (self.missing or self.unmatched or self.misfits)

    @property
    def plausible(self) -> bool:
        """Not perfect, but surely this family: holes and extras, no wrong shape, no role that is missing whole."""
        extras = len(self.unmatched) <= self.matched
        return extras and not self.misfits and not self.absent_roles

    @property
    def distance(self) -> tuple[int, float]:
        """What is left unexplained, then how much of the stated config had to give way."""
        return len(self.missing) + len(self.unmatched) + len(self.misfits), self.answer.cost


@dataclass(frozen=True, slots=True)
class _Fact:
    """One equation, how many tensors attest it, and the first of them."""

    polynomial: Polynomial
    size: int
    tensors: int
    evidence: Evidence


def fit(page: Page, layout: str, table: NameTable, stated: Stated, shared: frozenset[str]) -> Fit:
    """The best explanation that `page` has for the tensors of `table`; `shared`: names that share their bytes."""
    matching = match(page.layouts[layout], table)
    counts = list(_count_facts(matching.roles))
    known = _solve(counts + list(_shape_facts(matching.roles, {}, only_plain=True)), page.divisors).known
    structure = decide(matching.roles, known, stated, shared)
    facts = counts + list(_shape_facts(matching.roles, {**known, **structure.chosen}, only_plain=False))
    numbers = {k: v for k, v in structure.chosen.items() if isinstance(v, int) and not isinstance(v, bool)}
    solved = _solve(facts, page.divisors, numbers)
    answer = _choose(solved, structure, stated)
    missing, unmatched, misfits = _prove(matching, answer.values)
    missing_set = set(missing)
    absent = (r.pattern for r in matching.roles if r.pattern.slots and not r.tensors)
    absent_roles = tuple(p.text for p in absent if p.name((0,) * len(p.slots)) in missing_set)
    return Fit(
        page=page,
        layout=layout,
        answer=answer,
        evidence=_evidence(facts, matching.roles, page),
        absent_roles=absent_roles,
        missing=missing,
        unmatched=unmatched,
        misfits=misfits,
        matched=table.size - len(matching.unmatched),
    )


def _solve(facts: Sequence[_Fact], divisors: Divisors, known: Mapping[str, int] | None = None) -> Solved:
    """Solves what the facts say; where they contradict each other, the majority of tensors speaks."""
    tally: dict[Polynomial, Counter[int]] = {}
    for fact in facts:
        tally.setdefault(fact.polynomial, Counter())[fact.size] += fact.tensors
    equations = [(polynomial, sizes.most_common(1)[0][0]) for polynomial, sizes in tally.items()]
    weight = {polynomial: sum(sizes.values()) for polynomial, sizes in tally.items()}
    try:
        return solve(equations, known, divisors)
    except Contradiction:
        return _solve_greedily(sorted(equations, key=lambda e: -weight[e[0]]), divisors, known)


def _solve_greedily(
    equations: Sequence[tuple[Polynomial, int]], divisors: Divisors, known: Mapping[str, int] | None
) -> Solved:
    """Takes the best-attested equations as long as they agree; the rest will show as misfits."""
    kept: list[tuple[Polynomial, int]] = []
    solved = Solved(dict(known or {}), ())
    for equation in equations:
        try:
            solved = solve([*kept, equation], known, divisors)
        except Contradiction:
            continue
        kept.append(equation)
    return solved


def _count_facts(roles: Iterable[Role]) -> Iterator[_Fact]:
    """A slot's count is one more than the largest index seen, over all tensors that count by the same field."""
    largest: dict[Polynomial, tuple[int, str]] = {}
    for role in roles:
        for position, slot in enumerate(role.pattern.slots):
            for indices, tensor in role.tensors.items():
                if indices[position] >= largest.get(slot.count, (-1, ""))[0]:
                    largest[slot.count] = (indices[position], tensor.name)
    for count, (top, name) in largest.items():
        yield _Fact(count, top + 1, 1, Evidence(name, None, top + 1, f"{count} (indices 0 to {top})"))


def _shape_facts(roles: Iterable[Role], values: Mapping[str, Value], *, only_plain: bool) -> Iterator[_Fact]:
    """One equation per axis of every matched tensor; `only_plain` leaves out shapes that depend on a flag."""
    for role in roles:
        if only_plain and len(role.pattern.variants) > 1:
            continue
        alike: Counter[tuple[Variant | None, tuple[int, ...]]] = Counter()
        first: dict[tuple[Variant | None, tuple[int, ...]], str] = {}
        for indices, tensor in role.tensors.items():
            case = _shape_taken(role.pattern, indices, values), tensor.shape
            alike[case] += 1
            first.setdefault(case, tensor.name)
        for (variant, shape), tensors in alike.items():
            if variant is None or len(variant.shape) != len(shape):
                continue
            for axis, (polynomial, size) in enumerate(zip(variant.shape, shape, strict=True)):
                if polynomial.known() is None:
                    evidence = Evidence(first[variant, shape], axis, size, variant.texts[axis])
                    yield _Fact(polynomial, size, tensors, evidence)


def _shape_taken(pattern: Pattern, indices: tuple[int, ...], values: Mapping[str, Value]) -> Variant | None:
    """The shape that a tensor which is there must have: the only one, or the one whose condition holds."""
    return pattern.variants[0] if len(pattern.variants) == 1 else active_variant(pattern, indices, values)


def _choose(solved: Solved, structure: Choice, stated: Stated) -> Answer:
    """Takes the cheapest solution of every component that is still open."""
    values: dict[str, Value] = {**structure.chosen, **solved.known}
    options: dict[str, tuple[Value, ...]] = {name: (value,) for name, value in solved.known.items()}
    options.update(structure.options)
    cheapest: dict[str, tuple[Value, ...]] = {**options, **structure.cheapest}
    partners: dict[str, frozenset[str]] = {}
    cost = stated.cost(values, values)
    for component in _joined(solved.components, stated):
        possible = _obeying(component, values, stated)
        prices = [_price(component.fields, {**values, **solution}, stated) for solution in possible]
        kept = [s for s, price in zip(possible, prices, strict=True) if price == min(prices)]
        for field in component.fields:
            everywhere = component.complete and all(field in s for s in possible)
            options[field] = _distinct(s[field] for s in possible) if everywhere else ()
            cheapest[field] = _distinct(s[field] for s in kept if field in s)
            partners[field] = component.fields - {field}
        values.update(kept[0] if kept else {})
        cost += stated.cost(component.fields, values)
    values = _complete(stated, values)
    return Answer(values, options, cheapest, partners, cost + stated.list_cost(values))


def _price(fields: frozenset[str], values: Mapping[str, Value], stated: Stated) -> float:
    return stated.cost(fields, values) + stated.list_cost(values)


def _joined(components: Iterable[Component], stated: Stated) -> list[Component]:
    """The components, those that a rule or a list ties together made one."""
    joined: list[Component] = []
    for component in components:
        fields, group, apart = component.fields, [component], []
        for other in joined:
            if _tied(fields, other.fields, stated):
                fields, group = fields | other.fields, [*group, other]
            else:
                apart.append(other)
        joined = [*apart, _product(group) if len(group) > 1 else component]
    return joined


def _tied(left: frozenset[str], right: frozenset[str], stated: Stated) -> bool:
    page = stated.page
    names: list[frozenset[str]] = [rule.names for rule in page.rules]
    names += [length.fields() for length in page.lists.values()]
    return any(group & left and group & right for group in names)


def _product(group: Sequence[Component]) -> Component:
    fields = frozenset().union(*(c.fields for c in group))
    size = 1
    for component in group:
        size *= max(1, len(component.solutions))
    if size > MAX_JOINT:
        return Component(fields, (), False)
    joint = [
        {k: v for part in parts for k, v in part.items()} for parts in product(*(c.solutions for c in group))
    ]
    return Component(fields, tuple(joint), all(c.complete for c in group))


def _obeying(
    component: Component, determined: Mapping[str, Value], stated: Stated
) -> tuple[Mapping[str, int], ...]:
    """The solutions that the family's rules allow; all of them when the rules allow none."""
    kept = (
        s for s in component.solutions if _obeys_rules(stated.page, {**determined, **s}, component.fields)
    )
    return tuple(kept) or component.solutions


def _obeys_rules(page: Page, values: Mapping[str, Value], fields: frozenset[str]) -> bool:
    for rule in page.rules:
        if rule.names & fields and rule.names <= set(values):
            try:
                if not rule.holds(values):
                    return False
            except (TypeError, ZeroDivisionError):
                return False
    return True


def _complete(stated: Stated, values: Mapping[str, Value]) -> dict[str, Value]:
    """Fields that the weights say nothing of keep what is stated, else their class default."""
    page, whole = stated.page, dict(values)
    for _ in range(3):  # a default may be computed from another default
        for name in [*page.fields, *page.unverifiable]:
            if name not in values and whole.get(name) is None:  # None may be what the weights say
                whole[name] = stated.assumed(name, whole)
    for name, computed in page.computed.items():
        guard = computed.when_configured
        if stated.config is None or guard is None or stated.has(guard):
            whole[name] = computed.value.substitute(whole).known()
    return whole


def _prove(
    matching: Matching, values: Mapping[str, Value]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Misfit, ...]]:
    """Forwards: (tensors that the config demands and nobody has, tensors it does not predict, wrong shapes)."""
    missing: list[str] = []
    misfits: list[Misfit] = []
    unmatched = [tensor.name for tensor in matching.unmatched]
    for role in matching.roles:
        pattern, predicted = role.pattern, set()
        for indices in index_range(pattern, values):
            variant = active_variant(pattern, indices, values)
            if variant is None and pattern.copy_of is not None:
                variant = pattern.variants[0]
            elif variant is not None and pattern.required and indices not in role.tensors:
                missing.append(pattern.name(indices))
            if variant is not None:
                predicted.add(indices)
                misfits += _misfit(role.tensors.get(indices), variant, values)
        unmatched += [t.name for indices, t in role.tensors.items() if indices not in predicted]
    return tuple(missing), tuple(unmatched), tuple(misfits)


def _misfit(tensor: Tensor | None, variant: Variant, values: Mapping[str, Value]) -> list[Misfit]:
    if tensor is None or (expected := shape_of(variant, values)) == tensor.shape:
        return []
    return [Misfit(tensor.name, tensor.shape, expected)]


def _evidence(facts: Iterable[_Fact], roles: Iterable[Role], page: Page) -> dict[str, tuple[Evidence, ...]]:
    """Per field, one tensor for each different equation that mentions it."""
    found: dict[str, dict[str, Evidence]] = {}
    for fact in facts:
        for field in fact.polynomial.fields():
            found.setdefault(field, {}).setdefault(fact.evidence.equation, fact.evidence)
    for role in roles:
        for condition in (v.condition for v in role.pattern.variants if v.condition):
            first = next(iter(role.tensors.values()), None)
            name = first.name if first else role.pattern.name((0,) * len(role.pattern.slots))
            state = "present" if first else "absent"
            for field in condition.names & set(page.fields):
                evidence = Evidence(name, None, None, f"{state}; exists if {condition.text}")
                found.setdefault(field, {}).setdefault(evidence.equation, evidence)
    return {field: tuple(by_equation.values()) for field, by_equation in found.items()}


def _distinct(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(values))
