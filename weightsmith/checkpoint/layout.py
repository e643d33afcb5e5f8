"""Arithmetic on what a file claims about a shape: element counts, strides and spans, all bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# numpy before 2.0 holds at most 32 axes; real tensors have at most 6.
MOST_AXES = 32
# 200 times the largest published model, and far from where `count * itemsize` overflows in somebody's C.
MOST_ELEMENTS = 1 << 48
# Opening costs some 10 us a tensor. The largest published model has 210,000, in 62 files.
MOST_TENSORS, MOST_TENSORS_IN_FILE = 500_000, 100_000


def shape_fault(shape: object) -> str | None:
    """What is wrong with a claimed shape, or None.

    Axes of size 0 count as 1 here: `[0, 2**62]` has no element, but its strides overflow a C integer (the
    reference reader accepts it; field-notes, 2).
    """
    if not isinstance(shape, (list, tuple)):
        return "the shape is no list"
    if len(shape) > MOST_AXES:
        return f"the shape has {len(shape)} axes, more than {MOST_AXES}"
    count = 1
    for size in shape:
        if type(size) is not int:  # bool is an int to isinstance, and no size
            return "the shape holds something other than whole numbers"
        if size < 0:
            return "the shape holds a negative size"
        if size:
            count *= size
            if count > MOST_ELEMENTS:
                return "the shape has more than 2**48 elements"
    return None


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides, in elements, of a contiguous tensor; axes of size 0 count as 1, as in torch."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size or 1
    return tuple(reversed(strides))


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last one that a view touches, inclusive; 0 when it has none."""
    last = 0
    for size, stride in zip(shape, strides, strict=True):
        if size == 0:
            return 0
        last += (size - 1) * stride
    return last + 1
