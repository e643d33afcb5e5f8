"""What the probes have found out about the fields of a type: filled by single changes, read by everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.names import is_field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.learn.probe.builder import Lab
    from weightsmith.shapes.learn.probe.probe import BuildObservation
    from weightsmith.shapes.page.value import Value


@dataclass(slots=True)
class FieldSurvey:
    """What is known of the fields of one type so far.

    base: the first observation. accepted: per field that matters, values that build (the base's own first).

    words: per field, the strings that the implementation compares it with. counts: fields that number modules.
    replaced: fields of which the class turns 0 into another number, or that cut a model in two when they are 0.
    """

    lab: Lab
    base: BuildObservation
    words: Mapping[str, Sequence[str]]
    accepted: dict[str, list[Value]] = field(default_factory=dict)
    counts: set[str] = field(default_factory=set)
    refused: dict[str, None] = field(default_factory=dict)
    moves: list[dict[str, Value]] = field(default_factory=list)
    replaced: dict[str, None] = field(default_factory=dict)

    def candidates(self) -> dict[str, Value]:
        return {n: v for n, v in self.base.values.items() if is_field(n) and not isinstance(v, dict)}
