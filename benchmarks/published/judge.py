"""Judges one published model: its true config, two lies about it, and its tensors without any config."""

from __future__ import annotations

import copy
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.published.counts import without_publisher
from benchmarks.published.reference import Truth, build_truth, rebuild
from benchmarks.shapes import in_memory
from weightsmith.shapes import infer
from weightsmith.shapes.given.config import assign, lookup
from weightsmith.shapes.page.value import freeze, thaw
from weightsmith.shapes.reference.config_fields import flatten
from weightsmith.shapes.reference.meta_models import Rejected
from weightsmith.shapes.solve.published_values import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.published.models import PublishedModel
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.inference import Inference

LIES = 2
# The truth of an open field counts as found when it is among this many candidates.
FIRST = 3
_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a model. A fault is a sentence, and the empty one says that all is well.

    refused: why transformers does not build the model; nothing else is judged then. true, bare: the fault with the
    published config and with none. lies: one fault per lie. unsound: fields said to be forced by the weights with a
    value that is not the true one. verdict: without a config. open_fields, told, first: how many fields were left open
    without a config, of how many the truth is among the first candidates, and of how many it is the first. seconds: of
    CPU.
    """

    model: PublishedModel
    refused: str = ""
    true: str = ""
    lies: tuple[str, ...] = ()
    bare: str = ""
    unsound: tuple[str, ...] = ()
    verdict: str = ""
    open_fields: int = 0
    told: int = 0
    first: int = 0
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        found = [("true", self.true), *(("lie", fault) for fault in self.lies), ("bare", self.bare)]
        return [f"{case}: {fault}" for case, fault in found if fault] + [f"UNSOUND {u}" for u in self.unsound]


def judge(model: PublishedModel, seed: int) -> Judgement:
    start = time.process_time()
    try:
        truth = build_truth(model.config)
    except Rejected as error:
        return Judgement(model, refused=str(error))
    checkpoint = in_memory(truth.shapes, dtype_of(truth.config))
    true = infer(checkpoint, truth.config)
    with counted(without_publisher(model.name.partition("/")[0])):
        bare = infer(checkpoint, None)
    lies = list(_lied(true, truth, random.Random(f"{model.name}/{seed}")))
    repairs = [(name, infer(checkpoint, config)) for name, config in lies]
    places = list(_places(bare, truth))
    return Judgement(
        model,
        true=alarm(true),
        lies=tuple(_repair_fault(name, found, truth) for name, found in repairs),
        bare=bare_fault(bare, truth),
        unsound=tuple(
            sorted({u for found in (true, bare, *(f for _, f in repairs)) for u in _unsound(found, truth)})
        ),
        verdict=bare.verdict,
        open_fields=len(places),
        told=sum(place <= FIRST for place in places),
        first=sum(place == 1 for place in places),
        seconds=time.process_time() - start,
    )


def dtype_of(config: JsonObject) -> str:
    """What the weights are saved in; the floats of torch where the config does not say."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        stated = part.get("dtype") or part.get("torch_dtype")
        if stated:
            return _DTYPES.get(str(stated), "BF16")
    return "F32"


def alarm(found: Inference) -> str:
    """What is said against the true config; remarks beside `agrees` are not."""
    if found.verdict == "agrees":
        return ""
    if found.verdict == "unknown":
        return f"unknown; {found.nearest[0] if found.nearest else 'no family is near'}"
    changed = [f"{f.name} {f.configured or f.default} -> {f.derived}" for f in found.changes]
    missing = [f"{name} is missing" for name in found.architecture.missing_tensors[:1]]
    unmatched = [f"{name} is not its own" for name in found.architecture.unmatched_tensors[:1]]
    said = [problem.code for problem in found.problems]
    return "; ".join([*changed[:2], *missing, *unmatched, *said])


def _lied(true: Inference, truth: Truth, rng: random.Random) -> Iterator[tuple[str, JsonObject]]:
    """(field, config with one lie): sizes and counts that the file states, where another value builds otherwise."""
    rows = [
        row
        for row in true.fields
        if isinstance(row.configured, int) and not isinstance(row.configured, bool) and row.evidence
    ]
    told = 0
    for row in rng.sample(rows, k=len(rows)):
        value = row.configured
        assert isinstance(value, int)
        lies = [2 * value, value + 1, value // 2, value + 8]
        lie = next((lie for lie in rng.sample(lies, k=4) if lie > 0 and _matters(row.name, lie, truth)), None)
        if lie is not None:
            yield row.name, _with(truth.config, row.name, lie)
            told += 1
        if told == LIES:
            return


def _matters(name: str, lie: int, truth: Truth) -> bool:
    try:
        return rebuild(_with(truth.config, name, lie)) != truth.shapes
    except Rejected:
        return True


def _with(config: JsonObject, name: str, value: Json) -> dict[str, Json]:
    changed = copy.deepcopy(dict(config))
    assign(changed, name, value)
    return changed


def _repair_fault(name: str, found: Inference, truth: Truth) -> str:
    if found.verdict != "differs":
        return f"{name}: {found.verdict} instead of differs"
    published, repaired = lookup(truth.config, name)[1], lookup(found.config, name)[1]
    if freeze(published) == freeze(repaired) and len(found.changes) == 1:
        return ""
    fault = _rebuild_fault(found.config, truth)
    return f"{name} {published} became {repaired}: {fault}" if fault else ""


def bare_fault(found: Inference, truth: Truth) -> str:
    """Why what was derived without a config builds other tensors, with the truth in place of what was left open."""
    if found.verdict == "unknown":
        return alarm(found)
    fault = _rebuild_fault(found.config, truth)
    if not fault or found.verdict != "guessed":
        return fault
    config = with_truth(found, truth, FIRST)
    return fault if _rebuild_fault(config, truth) else ""


def with_truth(found: Inference, truth: Truth, first: int) -> dict[str, Json]:
    """The derived config, with the truth in place of each guess that has it among its first candidates."""
    config = copy.deepcopy(dict(found.config))
    for row in found.fields:
        value = thaw(flatten(truth.settings).get(row.name))
        if len(row.candidates) > 1 and freeze(value) in [freeze(c) for c in row.candidates[:first]]:
            assign(config, row.name, value)
    return config


def _rebuild_fault(config: JsonObject, truth: Truth) -> str:
    try:
        built = rebuild(config)
    except Rejected as error:
        return f"refused: {error}"
    wrong = sorted(n for n in built.keys() | truth.shapes.keys() if built.get(n) != truth.shapes.get(n))
    if not wrong:
        return ""
    name = wrong[0]
    return f"{len(wrong)} tensors, {name} is {truth.shapes.get(name)} built {built.get(name)}"


def _places(found: Inference, truth: Truth) -> Iterator[int]:
    """For every field that was left open, which of its candidates the truth is, from 1; endless where it is none."""
    values = flatten(truth.settings)
    for guess in found.guesses:
        candidates = [freeze(candidate) for candidate in guess.candidates]
        if (value := values.get(guess.name)) is not None:
            yield candidates.index(freeze(value)) + 1 if freeze(value) in candidates else sys.maxsize


def _unsound(found: Inference, truth: Truth) -> Iterator[str]:
    """Fields that the weights are said to force to a value that the published model has not."""
    if found.architecture.model_type != truth.config["model_type"]:
        return
    values = flatten(truth.settings)
    for row in found.fields:
        published = lookup(truth.config, row.name)[1]
        value = thaw(values.get(row.name))
        if row.derived == published:  # in words of its own, which the class replaces
            continue
        if row.basis == "weights" and value is not None and freeze(row.derived) != freeze(value):
            yield f"{row.name} is {value}, claimed {row.derived}"
