"""The proof: what a config predicts, compared with what is there, name by name and shape by shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from typing import TYPE_CHECKING

from weightsmith.shapes.page.predict import active_variant, index_range, shape_of, shape_values, slot_size
from weightsmith.shapes.solve.budget import BUDGET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.shapes.given.roles import Matching, Role
    from weightsmith.shapes.page.pattern import TensorPattern
    from weightsmith.shapes.page.value import Value

Indices = tuple[int, ...]
# Testing the conditions of a tensor takes as long as spelling so many names.
_CHOICE = 20


@dataclass(frozen=True, slots=True)
class Misfit:
    """A tensor of the family whose shape no config explains together with the others."""

    tensor: str
    shape: tuple[int, ...]
    expected: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.tensor} is {list(self.shape)} where the others demand {list(self.expected)}"


@dataclass(frozen=True, slots=True)
class Proof:
    """How a config's prediction differs from what is there.

    missing: tensors that it demands and the checkpoint lacks. unmatched: tensors that it does not predict. misfits:
    tensors of another shape.
    """

    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    misfits: tuple[Misfit, ...]

    @property
    def faults(self) -> int:
        return len(self.missing) + len(self.unmatched) + len(self.misfits)


PERFECT = Proof((), (), ())


def prove(matching: Matching, values: Mapping[str, Value], at_most: int | None = None) -> Proof:
    """Compares in time linear in the number of tensors: conditions are tested once per index that they read.

    at_most: stops when so many tensors are missing or of another shape, for who only asks whether there are any.
    """
    compared = _Comparison(values, most_names(matching), at_most)
    for role in matching.roles:
        compared.take(role)
        if compared.stopped:
            break
    unmatched = (*(tensor.name for tensor in matching.unmatched), *compared.unmatched)
    return Proof(tuple(compared.missing), unmatched, tuple(compared.misfits))


class Explaining:
    """Whether a config predicts every tensor that is there, and no other.

    It is asked of many configs that are nearly alike, and of a damaged checkpoint none of which does. What refuted the
    last one most likely refutes the next, and is compared first.
    """

    def __init__(self, matching: Matching) -> None:
        self._matching, self._roles = matching, list(matching.roles)

    def __call__(self, values: Mapping[str, Value]) -> bool:
        if self._matching.unmatched:
            return False
        compared = _Comparison(values, most_names(self._matching), at_most=1)
        for place, role in enumerate(self._roles):
            compared.take(role)
            if compared.stopped or compared.unmatched:
                self._roles.insert(0, self._roles.pop(place))
                return False
        return True


@dataclass(slots=True)
class _Comparison:
    """What was found so far, see `Proof`. left: how many names may still be spelled out."""

    values: Mapping[str, Value]
    left: int
    at_most: int | None
    missing: list[str] = field(default_factory=list)
    misfits: list[Misfit] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        return self.at_most is not None and len(self.missing) + len(self.misfits) >= self.at_most

    def take(self, role: Role) -> None:
        """Compares the tensors of one role, and those that it should have."""
        if self._is_as_predicted(role):
            return
        predicted: set[Indices] = set()
        for indices, expected, demanded in self._predicted(role):
            tensor = role.tensors.get(indices)
            if tensor is not None:
                predicted.add(indices)
                if expected != tensor.shape:
                    self.misfits.append(Misfit(tensor.name, tensor.shape, expected))
            elif demanded:
                self.missing.append(role.pattern.name(indices))
            if self.stopped:
                return
        if len(predicted) != len(role.tensors):
            self.unmatched += [t.name for indices, t in role.tensors.items() if indices not in predicted]

    def _is_as_predicted(self, role: Role) -> bool:
        """Whether counting tells that the role has the tensors that it should have. False says nothing."""
        pattern = role.pattern
        sizes = [slot_size(pattern, place, self.values) for place in range(len(pattern.slots))]
        inside = all(top < size for top, size in zip(role.tops, sizes, strict=True))
        deciding = [sizes[place] for place in role.deciding]
        price = _CHOICE * prod(deciding)
        if pattern.nested or not inside or max(price, prod(sizes)) > self.left:
            return False
        self.left -= price
        each = prod(size for place, size in enumerate(sizes) if place not in role.deciding)
        fixed: dict[int, tuple[int, ...]] = {}
        for key in product(*map(range, deciding)):
            place = dict(zip(role.deciding, key, strict=True))
            indices = tuple(place.get(slot, 0) for slot in range(len(sizes)))
            choice = _choice(pattern, indices, self.values, fixed)
            there = role.by_deciding.get(key)
            if there is None:
                if choice is not None and choice[1] and each:
                    return False
            elif choice is None or there != (each, {choice[0]}):
                return False
        return True

    def _predicted(self, role: Role) -> Iterator[tuple[Indices, tuple[int, ...], bool]]:
        """(indices, shape, must it be there) of every tensor that the role may have."""
        pattern = role.pattern
        read = role.deciding
        chosen: dict[Indices, tuple[tuple[int, ...], bool] | None] = {}
        fixed: dict[int, tuple[int, ...]] = {}
        for indices in self._indices(pattern):
            if self.left <= 0 and chosen:
                return
            self.left -= 1
            key = tuple(indices[place] for place in read)
            if key not in chosen:
                self.left -= _CHOICE
                chosen[key] = _choice(pattern, indices, self.values, fixed)
            choice = chosen[key]
            if choice is not None:
                yield indices, *choice
            elif not read:
                return

    def _indices(self, pattern: TensorPattern) -> Iterator[Indices]:
        """The indices of all tensors of a role; the first of them alone where they are too many to be spelled out."""
        sizes = [slot_size(pattern, place, self.values) or 1 for place in range(len(pattern.slots))]
        most = max(self.left, 1) if prod(sizes) <= self.left else 1
        return islice(index_range(pattern, self.values), most)


def most_names(matching: Matching) -> int:
    """How many names a config may demand that is compared with these tensors."""
    stored = sum(len(role.tensors) for role in matching.roles)
    return max(BUDGET.names, 4 * stored)


def _choice(
    pattern: TensorPattern,
    indices: Indices,
    values: Mapping[str, Value],
    fixed: dict[int, tuple[int, ...]],
) -> tuple[tuple[int, ...], bool] | None:
    """(shape, must it be there) at these indices. fixed: shapes that read no index, by the ids of their variants."""
    variant = active_variant(pattern, indices, values)
    demanded = variant is not None and pattern.required
    if variant is None and pattern.copy_of is not None:
        variant = pattern.variants[0]
    if variant is None:
        return None
    if id(variant) not in fixed:
        own = shape_values(pattern, variant, indices, values)
        shape = shape_of(variant, own)
        if own is not values:
            return shape, demanded
        fixed[id(variant)] = shape
    return fixed[id(variant)], demanded
