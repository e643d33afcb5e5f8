"""Asks a checkpoint's samples how wide its heads are: the steps of the norms, and the places of rotary pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import without_indices
from weightsmith.value_finding import ValueFinding
from weightsmith.values.unseen.head_width import LEAST_NATS, head_width
from weightsmith.values.unseen.rotary import layout, rotary_width
from weightsmith.values.unseen.sampling import evenly, log_norms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.checkpoint.arrays import Array
    from weightsmith.values.unseen.attention_names import AttentionStack
    from weightsmith.values.unseen.head_width import HeadWidth
    from weightsmith.values.unseen.rotary import RotaryWidth
    from weightsmith.values.unseen.sampling import Sampler

# Elements of a matrix of which all rows are read, and of all such matrices together: of larger ones the output
# projections, which a sample of rows suffices for, tell by themselves.
_LARGEST, _ALL = 1 << 23, 1 << 25
# Of a remote checkpoint so many times less is read of these.
_LESS_OF_FAR = 8
QUESTION, ORDER = "head-width", "rotary-order"


@dataclass(frozen=True, slots=True)
class Stated:
    """What is known of a stack's heads before the numbers are asked.

    widths: the candidates. configured: the width that the config says, None where it says none. halves: the family
    rotates row i with row i + width / 2, and is certain.
    """

    widths: tuple[int, ...]
    configured: int | None
    halves: bool


def tell_heads(sampler: Sampler, stack: AttentionStack, stated: Stated) -> Iterator[ValueFinding]:
    """How wide the heads of a stack are, and how rotary pairs are laid out in them.

    Raises what `Sampler.rows` raises.
    """
    values = [*_row_profiles(sampler, stack.values), *_joined_profiles(sampler, stack)]
    steps = head_width([*_output_profiles(sampler, stack), *values], stated.widths)
    if steps is None:
        return
    turned = [_row_profiles(sampler, names) for names in (stack.keys, stack.queries) if names]
    asked = (rotary_width(rows, stated.widths) for rows in turned)
    told = next((one for one in asked if one is not None and one.width is not None), None)
    found = _joined(stack, steps, told, stated)
    yield found
    if isinstance(found.value, int):
        yield from _order(stack, [profile for rows in turned for profile in rows], found.value)


def _joined(
    stack: AttentionStack, steps: HeadWidth, rotary: RotaryWidth | None, stated: Stated
) -> ValueFinding:
    """One answer of two statistics. rotary: told, or None."""
    if steps.width is None:
        alone = rotary is not None and _stands_alone(steps, rotary, stated)
        return _of_rotary(stack, rotary) if rotary is not None and alone else _of_steps(stack, steps)
    if rotary is None or rotary.width in (steps.width, 2 * steps.width):
        return _of_steps(stack, steps)
    says = f"not told: the output projections say {steps.width}, the keys {rotary.width}"
    return ValueFinding(QUESTION, "not told", None, says, stack.pattern, None, None)


def _stands_alone(steps: HeadWidth, rotary: RotaryWidth, stated: Stated) -> bool:
    """Whether the places of rotary pairs tell a width that the steps do not.

    Interleaved pairs look like halves of heads twice as wide: where the config names half the width, either it or the
    order of the rows is wrong, and nothing is told. Else the steps must like the same width best; or the family has
    halves, and the steps do not speak against it.
    """
    if stated.configured is not None and rotary.width == 2 * stated.configured:
        return False
    if rotary.width == steps.best.width and steps.gain > 0:
        return True
    costs = {score.width: score.cost for score in steps.scores}
    near = costs.get(rotary.best, float("inf")) - steps.best.cost < LEAST_NATS
    return stated.halves and (near or steps.gain < LEAST_NATS)


def _of_steps(stack: AttentionStack, steps: HeadWidth) -> ValueFinding:
    best, margin = steps.best, min(steps.margin, steps.gain)
    if steps.width is None:
        says = (
            f"not told: no width explains the norms well enough: the best, {best.width}, explains {best.share:.2f} of "
            f"their variance and is {margin:.0f} nats better than the next, of {LEAST_NATS:.0f} that are needed"
        )
        return ValueFinding(QUESTION, "not told", None, says, stack.pattern, best.share, margin)
    says = (
        f"{stack.width // best.width} heads of {best.width}: blocks of {best.width} explain {best.share:.2f} of the "
        f"variance of the norms, {margin:.0f} nats better than any other width"
    )
    return ValueFinding(QUESTION, "told", best.width, says, stack.pattern, best.share, margin)


def _of_rotary(stack: AttentionStack, rotary: RotaryWidth) -> ValueFinding:
    says = (
        f"{stack.width // rotary.best} heads of {rotary.best}: the place within half a head explains "
        f"{rotary.share:.2f} of the variance of the keys' norms, {rotary.margin:.1f} times what any smaller width "
        f"explains"
    )
    tensors = without_indices(stack.keys[0])
    return ValueFinding(QUESTION, "told", rotary.width, says, tensors, rotary.share, rotary.margin)


def _order(stack: AttentionStack, rows: Sequence[Array], width: int) -> Iterator[ValueFinding]:
    order, halves, pairs = layout(rows, width)
    if order is None:
        return
    says = (
        f"the pairs of the rotary embedding are {order}: places in half a head explain {halves:.2f} of the keys' "
        f"norms, pairs of neighbouring rows {pairs:.2f}"
    )
    tensors = without_indices(stack.keys[0])
    yield ValueFinding(ORDER, "told", order, says, tensors, halves, abs(halves - pairs))


def _output_profiles(sampler: Sampler, stack: AttentionStack) -> list[Array]:
    """Of each column that the output projections take, the log norm over a sample of rows: [width] each."""
    names = [stack.outputs[i] for i in evenly(len(stack.outputs))]
    readable = [name for name in names if sampler.readable(name)]
    if stack.turned:
        return [log_norms(sampler.whole(name), 1) for name in readable]
    return [log_norms(sampler.spread(name), 0) for name in readable]


def _joined_profiles(sampler: Sampler, stack: AttentionStack) -> list[Array]:
    """Of the values' rows of matrices that hold queries, keys and values, the log norm: they are the last rows."""
    chosen = _whole_ones(sampler, stack.joined)
    found = []
    for name in chosen:
        shape = sampler.view.tensors[name].shape
        total = shape[1] if stack.turned else shape[0]
        rows = (total - stack.width) // 2
        if rows <= 0 or (total - stack.width) % 2:
            continue
        if stack.turned:
            found.append(log_norms(sampler.whole(name)[:, total - rows :], 0))
        else:
            found.append(log_norms(sampler.rows(name, total - rows, total), 1))
    return found


def _row_profiles(sampler: Sampler, names: Sequence[str]) -> list[Array]:
    """Of each row of as many of these matrices as may be read whole, the log norm: [rows] each."""
    return [log_norms(sampler.whole(name), 1) for name in _whole_ones(sampler, names)]


def _whole_ones(sampler: Sampler, names: Sequence[str]) -> list[str]:
    """As many of these matrices as may be read whole, evenly spread; none where one of them is too large."""
    chosen = [names[i] for i in evenly(len(names)) if sampler.readable(names[i])]
    largest = max((sampler.view.tensors[name].elements for name in chosen), default=0)
    less = 1 if sampler.near else _LESS_OF_FAR
    if not chosen or largest > _LARGEST // less:
        return []
    return [chosen[i] for i in evenly(len(chosen), max(1, _ALL // less // largest))]
