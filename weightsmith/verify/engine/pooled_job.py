"""The job of the child that asks an engine for vectors, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weightsmith.records import Record
from weightsmith.verify.engine.engine_job import EngineJob, EngineSeconds, EngineSettings, Setting
from weightsmith.verify.inputs.pooling import Pooling

VECTORS = "engine.safetensors"
# The pass in which logits become what people are served; in the others they are asked for as they are.
ACTIVATED = "activated"


@dataclass(frozen=True, slots=True)
class PooledJob(Record):
    """What the engine is asked.

    engine: how it is started; its passes are the arrangements.
    texts: one text each, or a query and a document.
    """

    engine: EngineJob
    how: Pooling
    texts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Tokens(Record):
    """One text as tokens. types: of each, which of two texts it is in; empty where the tokenizer tells none."""

    ids: tuple[int, ...]
    types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PooledAnswer(Record):
    """What the child leaves beside its file, which has `<pass>` float32 [texts of the pass, width] for each pass.

    asked: the tokens of every text, as the tokenizer makes them.
    seen: the ids that the engine made of it, by number; without those that were given as ids.
    left_out: numbers of the texts that are too long.
    long: the number of the text that was made to the engine's size, None where there is none.
    pooling, normalised: as the engine does it, by its own word.
    pass_seconds: by pass.
    """

    asked: tuple[Tokens, ...]
    seen: Mapping[int, tuple[int, ...]]
    left_out: tuple[int, ...]
    long: int | None
    pooling: str | None
    normalised: bool | None
    settings: EngineSettings
    seconds: EngineSeconds
    peak_bytes: int
    pass_seconds: Mapping[str, float]
    orders: Mapping[str, tuple[int, ...]]
    added: Mapping[str, Setting]
