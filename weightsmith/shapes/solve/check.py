"""The proof: what a config predicts, compared with what is there, name by name and shape by shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from weightsmith.shapes.page.predict import active_variant, index_range, shape_of, shape_values, slot_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.shapes.given.roles import Matching, Role
    from weightsmith.shapes.page.pattern import TensorPattern
    from weightsmith.shapes.page.value import Value

Indices = tuple[int, ...]
# More names than this in one role are no model: a config that states them is not unrolled.
MAX_NAMES = 4_000_000


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


def prove(matching: Matching, values: Mapping[str, Value]) -> Proof:
    """Compares in time linear in the number of tensors: conditions are tested once per index that they read."""
    missing: list[str] = []
    misfits: list[Misfit] = []
    unmatched = [tensor.name for tensor in matching.unmatched]
    for role in matching.roles:
        pattern, predicted = role.pattern, 0
        for indices, expected, demanded in _predicted(role, values):
            tensor = role.tensors.get(indices)
            if tensor is None:
                if demanded:
                    missing.append(pattern.name(indices))
                continue
            predicted += 1
            if expected != tensor.shape:
                misfits.append(Misfit(tensor.name, tensor.shape, expected))
        if predicted != len(role.tensors):
            inside = {indices for indices, _, _ in _predicted(role, values)}
            unmatched += [t.name for indices, t in role.tensors.items() if indices not in inside]
    return Proof(tuple(missing), tuple(unmatched), tuple(misfits))


def _predicted(role: Role, values: Mapping[str, Value]) -> Iterator[tuple[Indices, tuple[int, ...], bool]]:
    """(indices, shape, must it be there) of every tensor that the role may have."""
    pattern = role.pattern
    if prod(slot_size(pattern, place, values) or 1 for place in range(len(pattern.slots))) > MAX_NAMES:
        return
    read = [place for place, slot in enumerate(pattern.slots) if _reads(pattern, slot.name)]
    chosen: dict[Indices, tuple[tuple[int, ...], bool] | None] = {}
    for indices in index_range(pattern, values):
        key = tuple(indices[place] for place in read)
        if key not in chosen:
            chosen[key] = _choice(pattern, indices, values)
        choice = chosen[key]
        if choice is not None:
            yield indices, *choice


def _choice(
    pattern: TensorPattern, indices: Indices, values: Mapping[str, Value]
) -> tuple[tuple[int, ...], bool] | None:
    variant = active_variant(pattern, indices, values)
    demanded = variant is not None and pattern.required
    if variant is None and pattern.copy_of is not None:
        variant = pattern.variants[0]
    if variant is None:
        return None
    return shape_of(variant, shape_values(pattern, variant, indices, values)), demanded


def _reads(pattern: TensorPattern, slot: str) -> bool:
    """Whether existence or shape depends on this slot's index."""
    return any(
        (v.condition is not None and slot in v.condition.names) or any(slot in a.fields() for a in v.shape)
        for v in pattern.variants
    )
