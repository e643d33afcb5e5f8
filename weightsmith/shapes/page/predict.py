"""Forwards: which tensors of which shapes a family has with given field values."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.shapes.page.pattern import TensorPattern, Variant
    from weightsmith.shapes.page.value import Value

Indices = tuple[int, ...]
# `product` keeps all indices of a slot in memory; more than these are counted one after the other.
_MOST_KEPT = 1 << 20


def predict(patterns: Iterable[TensorPattern], values: Mapping[str, Value]) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that a checkpoint with these field values must have."""
    return {
        pattern.name(indices): shape_of(variant, shape_values(pattern, variant, indices, values))
        for pattern in patterns
        if pattern.required
        for indices in index_range(pattern, values)
        if (variant := active_variant(pattern, indices, values)) is not None
    }


def shape_values(
    pattern: TensorPattern, variant: Variant, indices: Indices, values: Mapping[str, Value]
) -> Mapping[str, Value]:
    """The field values, with the indices where the shape reads them (`widths[layer]`)."""
    slots = {slot.name for slot in pattern.slots}
    read = slots and any(slots & axis.fields() for axis in variant.shape)
    return with_indices(pattern, indices, values) if read else values


def index_range(pattern: TensorPattern, values: Mapping[str, Value]) -> Iterator[Indices]:
    """Every combination of indices that the pattern's slots run over; one empty one for a plain name."""
    sizes = [slot_size(pattern, place, values) for place in range(len(pattern.slots))]
    if pattern.nested or max(sizes, default=0) > _MOST_KEPT:
        return _nested_range(pattern, (), values)
    return product(*map(range, sizes))


def _nested_range(pattern: TensorPattern, outer: Indices, values: Mapping[str, Value]) -> Iterator[Indices]:
    """For slots that count by an outer one: `{stage:len(depths)}.blocks.{block:depths[stage]}`."""
    if len(outer) == len(pattern.slots):
        yield outer
        return
    known = {**values, **{s.name: i for s, i in zip(pattern.slots, outer, strict=False)}}
    for index in range(slot_size(pattern, len(outer), known)):
        yield from _nested_range(pattern, (*outer, index), values)


def slot_size(pattern: TensorPattern, position: int, values: Mapping[str, Value]) -> int:
    """How many values a slot takes; 0 while the fields that it counts by are not known."""
    return max(0, pattern.slots[position].count.at(values) or 0)


def active_variant(pattern: TensorPattern, indices: Indices, values: Mapping[str, Value]) -> Variant | None:
    """The shape that the tensor at `indices` has, None when it does not exist."""
    if len(pattern.variants) == 1 and pattern.variants[0].condition is None:
        return pattern.variants[0]
    environment = with_indices(pattern, indices, values)
    return next((variant for variant in pattern.variants if exists(variant, environment)), None)


def with_indices(pattern: TensorPattern, indices: Indices, values: Mapping[str, Value]) -> dict[str, Value]:
    """The field values and, under the slots' names, the indices: what a condition is tested on."""
    return {**values, **dict(zip((slot.name for slot in pattern.slots), indices, strict=True))}


def exists(variant: Variant, environment: Mapping[str, Value]) -> bool:
    """Whether the variant's condition holds; one that `environment` does not decide does not."""
    return variant.condition is None or variant.condition.truth(environment) is True


def shape_of(variant: Variant, values: Mapping[str, Value]) -> tuple[int, ...]:
    """The axes in numbers; -1 for one whose fields are not all known."""
    sizes = (axis.at(values) for axis in variant.shape)
    return tuple(-1 if size is None else size for size in sizes)
