"""The job of the reference's child, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weightsmith.records import Record
from weightsmith.verify.inputs.kinds import Dtype, Variation


@dataclass(frozen=True, slots=True)
class Replayed(Record):
    """One of the engine's completions, to be replayed. ids: of the prompt's tokens. tokens: what was generated."""

    prompt: int
    ids: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReferenceJob(Record):
    """What is to be replayed, and how.

    model: the folder.
    layer_by_layer: dtypes that run with one layer's weights in memory at a time.
    """

    model: str
    variations: tuple[Variation, ...]
    completions: tuple[Replayed, ...]
    layer_by_layer: tuple[Dtype, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayFile(Record):
    """The log-probabilities of one variation. file: its name in the child's folder."""

    name: str
    dtype: Dtype
    file: str


@dataclass(frozen=True, slots=True)
class ReferenceAnswer(Record):
    """What the child leaves beside its files.

    impossible: why a control cannot be made of this model, by name.
    seconds: by stage.
    versions: of the libraries that computed.
    """

    done: tuple[ReplayFile, ...]
    impossible: Mapping[str, str]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
