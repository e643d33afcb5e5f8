"""Which KV-cache slot each attention call of the recurrence owns: pure arithmetic, no torch."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - a dataclass below is read at run time
from dataclasses import dataclass
from typing import Any, Literal

StackName = Literal["L", "H"]


@dataclass(frozen=True, slots=True)
class Step:
    """One run through one stack. `number` counts runs from 0 in order of execution."""

    number: int
    stack: StackName


@dataclass(frozen=True, slots=True)
class Recurrence:
    """HRM-Text's schedule: per high cycle, `low_cycles` runs of the L stack, then one of the H stack.

    The weights of a stack are shared by all its runs, but the keys and values are not: each run sees other
    hidden states, so each (run, layer) needs a cache of its own (transformers, modeling_hrm_text.py,
    "Cache-slot layout under the recurrent forward").
    """

    high_cycles: int
    low_cycles: int
    layers_per_stack: int

    @property
    def slots(self) -> int:
        return self.high_cycles * (self.low_cycles + 1) * self.layers_per_stack

    def steps(self) -> Iterator[Step]:
        for high in range(self.high_cycles):
            first = high * (self.low_cycles + 1)
            for low in range(self.low_cycles):
                yield Step(first + low, "L")
            yield Step(first + self.low_cycles, "H")

    def steps_of(self, stack: StackName) -> tuple[int, ...]:
        return tuple(step.number for step in self.steps() if step.stack == stack)

    def slot(self, step: int, layer: int) -> int:
        return step * self.layers_per_stack + layer


def recurrence(config: Any) -> Recurrence:
    """The schedule that a config describes.

    A config that was never completed has `num_hidden_layers` = layers per stack and no `num_layers_per_stack`;
    a completed one has the number of slots there. Raises ValueError when a completed one contradicts itself.
    """
    layers = getattr(config, "num_layers_per_stack", None)
    shape = Recurrence(config.H_cycles, config.L_cycles, layers or config.num_hidden_layers)
    if min(shape.high_cycles, shape.low_cycles, shape.layers_per_stack) < 1:
        raise ValueError(
            f"HRM-Text needs H_cycles, L_cycles and layers per stack of at least 1, and has {shape}"
        )
    if layers and config.num_hidden_layers != shape.slots:
        raise ValueError(
            f"num_hidden_layers is {config.num_hidden_layers}, but H_cycles {shape.high_cycles} × "
            f"(L_cycles {shape.low_cycles} + 1) × num_layers_per_stack {layers} are {shape.slots} slots"
        )
    return shape
