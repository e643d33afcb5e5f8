"""The job of the likelihood's child, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weightsmith.documents import BehaviourFindingEntry
from weightsmith.records import Record
from weightsmith.verify.likelihood.texts import Text


@dataclass(frozen=True, slots=True)
class LikelihoodJob(Record):
    """A model that is to be asked.

    model: a folder with its config. weights: the checkpoint, a folder that has a tokenizer or a file in one.
    layer_by_layer: whether one layer's weights are in memory at a time. texts: by name, in the order of reading.
    within: as of an `Examination`.
    """

    model: str
    weights: str
    layer_by_layer: bool
    texts: Mapping[str, Text]
    within: float | None = None


@dataclass(frozen=True, slots=True)
class LikelihoodAnswer(Record):
    """findings: of every setting that acts. impossible: why there are none; empty where there are."""

    findings: tuple[BehaviourFindingEntry, ...]
    impossible: str = ""
