"""The job of the child that computes reference vectors, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from weightsmith.records import Record
from weightsmith.verify.engine.pooled_job import Tokens
from weightsmith.verify.inputs.kinds import Dtype, Variation
from weightsmith.verify.inputs.pooling import Pooling, PoolingType

VECTORS = "reference.safetensors"


@dataclass(frozen=True, slots=True)
class PooledVariation(Record):
    """One way to make the vectors; a control is the right one with a single thing made wrong.

    model: what of the model is wrong. how: what the vectors are made of, pooling and length decided.
    types: whether the model is told which of two texts a token is in.
    """

    model: Variation
    how: Pooling
    types: bool = True


@dataclass(frozen=True, slots=True)
class PooledReferenceJob(Record):
    """model: the folder. texts: by number."""

    model: str
    variations: tuple[PooledVariation, ...]
    texts: Mapping[int, Tokens]


@dataclass(frozen=True, slots=True)
class PooledReferenceAnswer(Record):
    """The child's file has `<name>-<dtype>` float32 [texts, width] for each of `done`.

    impossible: why a control cannot be made of this model, by name. seconds: by stage. versions: of the libraries.
    """

    done: tuple[str, ...]
    impossible: Mapping[str, str]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]


def variations(
    how: Pooling, half: Dtype, dtypes: tuple[Dtype, ...], *, rope: bool, types: bool
) -> tuple[PooledVariation, ...]:
    """The right references and the wrong ones, those of a dtype side by side; the wrong ones in the first dtype.

    half: what the engine rounds to. rope: whether the config names a base of rotary positions. types: whether the
    tokenizer tells two texts apart.
    """
    found: list[PooledVariation] = []
    for dtype in dtypes:
        right = PooledVariation(Variation("reference", dtype, "causal"), how)
        found.append(right)
        if dtype == dtypes[0]:
            found += _wrong(right, rope=rope, types=types)
    return tuple(found)


def _wrong(right: PooledVariation, *, rope: bool, types: bool) -> list[PooledVariation]:
    model, how = right.model, right.how

    def named(name: str) -> Variation:
        return replace(model, name=name)

    found = [replace(right, model=replace(model, name="layer-skipped", skip_layer=0.5))]
    if rope:
        found.append(replace(right, model=replace(model, name="wrong-rope-base", rope_base=True)))
    if how.task != "embed":
        return found + ([replace(right, model=named("token-types-dropped"), types=False)] if types else [])
    other: PoolingType = "CLS" if how.pooling == "MEAN" else "MEAN"
    found.append(replace(right, model=named("wrong-pooling"), how=replace(how, pooling=other)))
    name = "not-normalised" if how.normalised else "normalised"
    found.append(replace(right, model=named(name), how=replace(how, normalised=not how.normalised)))
    return found
