"""What one statistic found, as a value: for the table, for JSON, and for whoever settles a field by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.false_alarms import ALARMS

if TYPE_CHECKING:
    from weightsmith.documents import ValueFindingEntry
    from weightsmith.json_value import Json

# told: the numbers say it. not told: they were asked and do not. contradicted: they say that something is wrong.
Telling: TypeAlias = Literal["told", "not told", "contradicted"]


@dataclass(frozen=True, slots=True)
class ValueFinding:
    """One answer of the values.

    name: of the question, which stays. value: the answer, None where there is none. says: the same as a sentence.
    tensors: which were looked at, with * for indices. statistic, margin: the number that it rests on, and how far it
    is beyond the limit or the next candidate.
    """

    name: str
    telling: Telling
    value: Json
    says: str
    tensors: str
    statistic: float | None
    margin: float | None

    def document(self) -> ValueFindingEntry:
        """One entry of `values` in the JSON contract of `infer-config`."""
        wrong, asked = ALARMS[self.name]
        return {
            "name": self.name,
            "telling": self.telling,
            "value": self.value,
            "says": self.says,
            "tensors": self.tensors,
            "statistic": self.statistic,
            "margin": self.margin,
            "false_alarms": {"wrong": wrong, "asked": asked},
        }
