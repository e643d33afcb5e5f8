"""The job of the reference's child, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weightsmith.records import Record
from weightsmith.verify.inputs.kinds import Dtype, Variation
from weightsmith.verify.inputs.pictures import Pictured

# Under this name a reference's file has the JSON of an `Unpacking` in its metadata.
UNPACKING = "unpacking"


@dataclass(frozen=True, slots=True)
class Replayed(Record):
    """One of the engine's completions, to be replayed. ids: of the prompt's tokens. tokens: what was generated.

    picture: what it was about, None for a prompt of text.
    """

    prompt: int
    ids: tuple[int, ...]
    tokens: tuple[int, ...]
    picture: Pictured | None = None


def of_variation(variation: Variation, completions: Sequence[Replayed]) -> list[Replayed]:
    """Those that a variation makes a difference to."""
    return [one for one in completions if one.picture is not None or not variation.other_picture]


@dataclass(frozen=True, slots=True)
class Difference(Record):
    """A parameter of which transformers unpacks other numbers than the plain view.

    share: of the numbers of its sample. ours, theirs: the first of them that differs.
    """

    name: str
    share: float
    ours: float
    theirs: float


@dataclass(frozen=True, slots=True)
class Unpacking(Record):
    """Where the weights of a reference come from, whose checkpoint is packed.

    packed_as: in which schemes. by_transformers: why the plain view was not used; empty where it was.
    compared: parameters of which transformers' own unpacking was looked at, too. kept: those that it leaves packed.
    silent: why it was not looked at. differ: parameters in which the two differ; differing: the first few.
    rounded: what bf16's reference rounds beside the weights, as the engine does by design; empty for nothing.
    unrounded: what an engine rounds by design and no reference does; empty for nothing.
    """

    packed_as: str
    by_transformers: str = ""
    compared: int = 0
    kept: int = 0
    silent: str = ""
    differ: int = 0
    differing: tuple[Difference, ...] = ()
    rounded: str = ""
    unrounded: str = ""


@dataclass(frozen=True, slots=True)
class ReferenceJob(Record):
    """What is to be replayed, and how.

    model: the folder.
    layer_by_layer: dtypes that run with one layer's weights in memory at a time.
    no_second_opinion: why transformers is not asked what packed weights are; empty where it is.
    """

    model: str
    variations: tuple[Variation, ...]
    completions: tuple[Replayed, ...]
    layer_by_layer: tuple[Dtype, ...] = ()
    no_second_opinion: str = ""


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
