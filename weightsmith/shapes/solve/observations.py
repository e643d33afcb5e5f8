"""What the presence and absence of tensors says: one observation per condition and set of indices, seen once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.shapes.given.config import ADDITION, ODDITY
from weightsmith.shapes.solve.budget import BUDGET

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence, Set

    from weightsmith.shapes.given.roles import Role
    from weightsmith.shapes.given.ties import Copies
    from weightsmith.shapes.page.condition import Condition
    from weightsmith.shapes.page.expression import Polynomial
    from weightsmith.shapes.page.value import Value

Combination: TypeAlias = tuple[int, ...]
# How a tensor stands to the one that it may repeat: in the same bytes; with the same numbers; with numbers of its own
# (or repeating none); not known, where no bytes can be read.
Kinship: TypeAlias = Literal["shared", "equal", "own", "unknown"]


@dataclass(frozen=True, slots=True)
class Observation:
    """Roles that exist under the same condition for the same indices.

    conditions: any of them makes the tensor exist (none: it always does). counts: slot counts that must be
    positive too. names: the slots that the conditions read; indices: those of each slot that are looked at, in order;
    sizes: how many it could have. present: the index combinations, over those slots, that have a tensor. required
    False: absence says nothing. kinship: how the tensor stands to the one that it repeats where its condition does not
    hold.
    """

    conditions: tuple[Condition, ...]
    counts: tuple[Polynomial, ...]
    names: tuple[str, ...]
    indices: tuple[Sequence[int], ...]
    sizes: tuple[int, ...]
    present: frozenset[Combination]
    required: bool
    kinship: Kinship

    @property
    def copy(self) -> bool:
        """Whether the tensor may be stored although its condition does not hold."""
        return self.kinship != "own"

    def fields(self) -> frozenset[str]:
        """The names that decide about existence, slots left out."""
        read = (condition.names for condition in self.conditions)
        counted = (count.fields() for count in self.counts)
        return frozenset().union(*read, *counted) - set(self.names)

    @property
    def looked_at(self) -> Collection[Combination]:
        """The index combinations that say something: all, or only those that are there where absence says nothing."""
        every = prod(map(len, self.indices)) <= max(BUDGET.indices_together, 2 * len(self.present))
        return tuple(product(*self.indices)) if self.required and every else self.present

    def is_nowhere(self, values: Mapping[str, object]) -> bool:
        """Whether a config of these values has no such tensor at all, whatever the conditions: it has none to count."""
        return any((count.at(values) or 0) < 1 for count in self.counts)

    def expected(self, combination: Combination, values: Mapping[str, object]) -> bool:
        """Whether a config of these values has such tensors there; a condition that they do not decide does not hold.

        values: may hold stand-ins for lists, which a condition reads like lists.
        """
        return not self.is_nowhere(values) and self.outcome(combination, values) is True

    def outcome(self, combination: Combination, values: Mapping[str, object]) -> bool | None:
        """As `expected`, of values that may lack fields: None where what is known leaves it open."""
        sizes = [count.at(values) for count in self.counts]
        if any(size is not None and size < 1 for size in sizes):
            return False
        environment = {**values, **dict(zip(self.names, combination, strict=True))}
        holds: bool | None = not self.conditions
        for condition in self.conditions:
            truth = condition.truth(environment)
            if truth:
                holds = True
                break  # those behind it are not asked
            if truth is None:
                holds = None
        return None if holds and None in sizes else holds

    def contradicted(self, combination: Combination, values: Mapping[str, object]) -> bool:
        """Whether what was seen there is ruled out by `values`, whatever the fields are that they lack."""
        actual, outcome = combination in self.present, self.outcome(combination, values)
        return outcome is not None and outcome != actual and not (self.copy and actual)

    def is_settled(self, values: Mapping[str, object]) -> bool:
        """Whether all that was seen follows from `values`, whatever the fields are that they lack."""
        return not self.copy and all(
            self.outcome(combination, values) is (combination in self.present)
            for combination in self.looked_at
        )

    def explained(self, combination: Combination, values: Mapping[str, object]) -> bool:
        """Whether what was seen there is what is expected, or a copy that was stored all the same."""
        actual = combination in self.present
        return self.expected(combination, values) == actual or (self.copy and actual)

    def is_contradicted(self, values: Mapping[str, Value]) -> bool:
        """Whether some of what was seen is, see `contradicted`."""
        own = self._own(values)
        return any(self.contradicted(combination, own) for combination in self.looked_at)

    def is_explained(self, values: Mapping[str, Value]) -> bool:
        """Whether all that was seen is what is expected, see `explained`."""
        own = self._own(values)
        return all(self.explained(combination, own) for combination in self.looked_at)

    def unexplained(self, values: Mapping[str, Value]) -> int:
        """How many index combinations have a tensor that `values` do not predict, or lack one that they do."""
        own = self._own(values)
        return sum(not self.explained(combination, own) for combination in self.looked_at)

    def _own(self, values: Mapping[str, Value]) -> Mapping[str, Value]:
        """What is read here of all values: these are copied for every combination."""
        return {name: values[name] for name in self.fields() if name in values}

    def oddity(self, values: Mapping[str, Value], stated: bool) -> float:
        """The price of a copy that is stored though tied, or that shares its bytes though it is not.

        A copy of the same numbers costs nothing: tied or not, the model is the same.
        stated: the file itself says whether it is tied; a mere class default is believed less than the weights.
        """
        if self.kinship not in ("shared", "unknown") or not self.present:
            return 0.0
        price = ODDITY if stated else ODDITY + ADDITION
        return price * (self.expected(next(iter(self.present)), values) == (self.kinship == "shared"))


def observe(
    roles: Sequence[Role],
    sizes: Mapping[Polynomial, int],
    counted: Mapping[str, Value],
    known: Mapping[str, Value],
    shared: Copies,
    *,
    there_is_a_file: bool,
) -> dict[Observation, int]:
    """Every observation and how many roles make it.

    sizes: slot counts as the names attest them. counted: what a loader would take for every field, for slots
    that no name attests. known: fields that are certain. shared: what the bytes tell about tied tensors, which are
    read less where there is a file to go by.
    """
    found: dict[Observation, int] = {}
    plain = {role.pattern.text: next(iter(role.tensors.values())).name for role in roles if role.tensors}
    stored = _stored_indices(roles)
    for role in roles:
        kinship = _kinship(role, plain, shared, counted if there_is_a_file else None)
        seen = _observe(role, sizes, stored, counted, known, kinship)
        if seen is not None:
            found[seen] = found.get(seen, 0) + 1
    return found


def _stored_indices(roles: Iterable[Role]) -> dict[Polynomial, set[int]]:
    """Per slot count, the indices that have a tensor of any role."""
    found: dict[Polynomial, set[int]] = {}
    for role in roles:
        for place, slot in enumerate(role.pattern.slots):
            found.setdefault(slot.count, set()).update(indices[place] for indices in role.tensors)
    return found


def _walked(size: int, stored: Set[int]) -> Sequence[int]:
    """The indices of a slot that say something: all of them, or those that have tensors where these are the fewer."""
    if size <= max(BUDGET.indices, 2 * len(stored)):
        return range(size)
    return tuple(sorted(stored)) or range(BUDGET.indices)


def _observe(
    role: Role,
    sizes: Mapping[Polynomial, int],
    stored: Mapping[Polynomial, Set[int]],
    counted: Mapping[str, Value],
    known: Mapping[str, Value],
    kinship: Kinship,
) -> Observation | None:
    pattern = role.pattern
    always = any(variant.condition is None for variant in pattern.variants)
    conditions = () if always else tuple(v.condition for v in pattern.variants if v.condition)
    open_counts = () if role.tensors else _open_counts(role, sizes, known)
    if (always and not open_counts) or not (pattern.required or role.tensors):
        return None
    read = frozenset().union(*(condition.names for condition in conditions))
    positions = [place for place, slot in enumerate(pattern.slots) if slot.name in read]
    counts = [pattern.slots[p].count for p in positions]
    lengths = tuple(
        _size(count, role.tops[p], sizes, counted) for p, count in zip(positions, counts, strict=True)
    )
    return Observation(
        conditions=conditions,
        counts=open_counts,
        names=tuple(pattern.slots[p].name for p in positions),
        indices=tuple(_walked(size, stored[count]) for size, count in zip(lengths, counts, strict=True)),
        sizes=lengths,
        present=frozenset(tuple(indices[p] for p in positions) for indices in role.tensors),
        required=pattern.required,
        kinship=kinship,
    )


def _kinship(
    role: Role, first: Mapping[str, str], shared: Copies, counted: Mapping[str, Value] | None
) -> Kinship:
    """How a role stands to the one that it may repeat. Nothing is read where a loader would expect it of its own.

    first: per pattern, the name of its first tensor as it is stored. counted: what a loader would take for every field;
    None where there is no file that tells it what to expect.
    """
    original = role.pattern.copy_of
    if original is None:
        return "own"
    names = [tensor.name for tensor in role.tensors.values()]
    if any(name in shared.shared for name in names):
        return "shared"
    expected = counted is not None and any(
        v.condition is None or v.condition.truth(counted) is True for v in role.pattern.variants
    )
    comparable = len(names) == 1 and original in first and not expected
    equal = shared.equal(names[0], first[original]) if comparable else None
    if equal is None:
        return "unknown"
    return "equal" if equal else "own"


def _open_counts(
    role: Role, sizes: Mapping[Polynomial, int], known: Mapping[str, Value]
) -> tuple[Polynomial, ...]:
    """Slot counts of a role without tensors that nothing attests: one of them may be 0."""
    counts = (slot.count for slot in role.pattern.slots)
    return tuple(c for c in counts if c not in sizes and c.at(known) is None)


def _size(count: Polynomial, top: int, sizes: Mapping[Polynomial, int], counted: Mapping[str, Value]) -> int:
    attested = sizes.get(count)
    if attested is None:
        attested = count.at(counted) or 0
    return max(attested, top + 1, 0)
