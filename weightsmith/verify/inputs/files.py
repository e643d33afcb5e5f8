"""What the shapes and the values prove about the model's files, before any engine starts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.json_file import read_json_object
from weightsmith.checkpoint.manifest_file import MANIFEST, MANIFEST_LIMITS
from weightsmith.checkpoint.model_files import is_loaded, is_weights
from weightsmith.checkpoint.small_file import LARGEST_TOKENIZER, is_there, listed, open_named, open_small
from weightsmith.errors import InvalidConfig
from weightsmith.schemes import plain_view
from weightsmith.settle.settling import settled
from weightsmith.shapes import find_config, infer
from weightsmith.values.value_survey import survey_values
from weightsmith.verify.checks import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.values.value_survey import ValueSurvey


_LAYER = re.compile(r".*?\.[0-9]+(?=\.)")
# How many of a list of faults a sentence names before it counts the rest.
_NAMED = 4


# Configs inside that of a language model.
_CONFIGS_OF_TEXT = frozenset({"text_config", "quantization_config", "compression_config"})


@dataclass(frozen=True, slots=True)
class Size:
    """A model's size in parameters, packed ones as what they stand for.

    largest_layer: or a tensor outside of layers, where that is larger.
    packed: whether any weights are packed.
    """

    parameters: int
    largest_layer: int
    packed: bool = False


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A setting of config.json that the weights rule out, as JSON has the values.

    evidence: what proves it, in words. mended: whether `convert` has written the new value already.
    """

    name: str
    old: Json
    new: Json
    evidence: str
    mended: bool


@dataclass(frozen=True, slots=True)
class Files:
    """What is known of the files of a model folder.

    config: as the weights correct it, so that what follows does not build on a wrong one.
    checks: config and weights.
    runnable: False where an engine would crash on the files or load them wrongly.
    weights: file names.
    fusion: what the values say of ternary fusion ("fused", "latent", …).
    format: of the checkpoint. dtypes: parameters by dtype.
    changes: of config.json: those that `convert` made, and those that are still to make.
    """

    config: JsonObject
    checks: tuple[Check, ...]
    runnable: bool
    size: Size
    nbytes: int
    weights: tuple[str, ...]
    fusion: str
    format: str
    parameters: int
    dtypes: Mapping[str, int]
    changes: tuple[ConfigChange, ...] = ()

    @property
    def text_only(self) -> bool:
        """Whether the model takes nothing but text: one that sees or hears has configs for that inside."""
        return not any(
            name.endswith("_config") and isinstance(inner, dict) and name not in _CONFIGS_OF_TEXT
            for name, inner in self.config.items()
        )

    @property
    def max_positions(self) -> int | None:
        """What the config allows; None where it says nothing."""
        positions = self.config.get("max_position_embeddings")
        return positions if isinstance(positions, int) else None


def need_openable(model: Path) -> None:
    """Raises MissingInput, HostileCheckpoint or InvalidConfig for a file that the engine would stumble over: it waits
    for pipes, drains devices and follows links wherever they lead.
    """
    for name in filter(is_loaded, listed(model)):
        opened = open_named(model / name) if is_weights(name) else open_small(model / name, LARGEST_TOKENIZER)
        opened.close()


def inspect_files(model: Path) -> Files:
    """Reads headers, config and a sample of the values of the model folder.

    Raises what `open_checkpoint` and `need_openable` raise: damaged or hostile files are no matter of verification.
    """
    need_openable(model)
    checkpoint = open_checkpoint(model)
    file = find_config(checkpoint)
    inference = _inferred(checkpoint, None if file is None else file.data)
    beside = file is not None and file.path.parent == checkpoint.root
    config_check = _config_check(model, inference, configured=beside)
    found = survey_values(checkpoint, sample=True)
    return Files(
        config=inference.config or ({} if file is None else file.data),
        checks=(config_check, _weights_check(model, checkpoint, found)),
        runnable=config_check.verdict != "fail",
        size=size_of(checkpoint),
        nbytes=checkpoint.nbytes,
        weights=tuple(checkpoint.files),
        fusion=found.fusion.state,
        format=checkpoint.format,
        parameters=checkpoint.parameters,
        dtypes=checkpoint.dtypes(),
        changes=(*_mended(model), *map(_wrong, inference.changes)),
    )


def _inferred(checkpoint: Checkpoint, config: JsonObject | None) -> Inference:
    """What the shapes say, and a sample of the numbers: heads, rotary order, gate and up, the tokenizer's ids."""

    def again(given: Mapping[str, Json]) -> Inference:
        return infer(checkpoint, config, None, None, given)

    return settled(again({}), config, {}, again)


def size_of(checkpoint: Checkpoint) -> Size:
    """A layer: the tensors whose names are the same up to their first number."""
    unpacked = plain_view(checkpoint)
    layers: Counter[str] = Counter()
    for name, tensor in unpacked.tensors.items():
        numbered = _LAYER.match(name)
        layers[numbered[0] if numbered else name] += tensor.elements
    return Size(layers.total(), max(layers.values(), default=0), bool(unpacked.modules))


def _config_check(model: Path, inference: Inference, configured: bool) -> Check:
    """What the shapes prove about config.json. Left open without a family page: the engine may still know the model."""
    notes = [problem.message for problem in inference.problems]
    if not configured:
        words = f"there is no config.json; write one with `weightsmith infer-config {model} --write`"
        return Check("config", "fail", inference.verdict, "agrees", words)
    if inference.verdict == "unknown":
        words = "no family of the catalog explains these tensors, so the config is not proven"
        return Check(
            "config", "inconclusive", "unknown", "agrees", _listed(words, [*inference.nearest, *notes])
        )
    wrong = list(map(_contradiction, inference.changes))
    if inference.verdict in ("differs", "guessed"):
        wrong += [problem.message for problem in inference.problems if problem.stops_loader]
        words = (
            f"the weights contradict config.json; repair it with `weightsmith infer-config {model} --write`"
            if inference.changes
            else "with these files another model runs than was trained"
        )
        return Check("config", "fail", inference.verdict, "agrees", _listed(words, wrong))
    words = f"config.json agrees with the weights ({inference.architecture.model_type})"
    return Check("config", "pass", "agrees", "agrees", _listed(words, notes))


def _contradiction(field: FieldReport) -> str:
    """One wrong field with the tensor that proves it."""
    fact, proof = f"{field.name} is {field.derived}, not {field.configured}", _proof(field)
    return f"{fact} ({proof})" if proof else fact


def _proof(field: FieldReport) -> str:
    """The first tensor that bears on a field; empty for none."""
    seen = next(iter(field.evidence), None)
    return "" if seen is None else f"{seen.tensor} axis {seen.axis} has {seen.size}"


def _wrong(field: FieldReport) -> ConfigChange:
    return ConfigChange(field.name, field.configured, field.derived, _proof(field), mended=False)


def _mended(model: Path) -> Iterator[ConfigChange]:
    """What `convert` says in weightsmith.json that it changed: words of a file, which only the report repeats."""
    if not is_there(model / MANIFEST):
        return
    try:
        rows = read_json_object(model / MANIFEST, MANIFEST_LIMITS).get("config_changes")
    except InvalidConfig:
        return
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("name"), str):
            yield ConfigChange(row["name"], row.get("from"), row.get("to"), "", mended=True)


def _weights_check(model: Path, checkpoint: Checkpoint, found: ValueSurvey) -> Check:
    """What a sample of every tensor proves: damage, or weights that are called fused and are latent."""
    state = found.fusion.state
    faults = [f"{fault.tensor} {fault.what}" for fault in found.damage]
    if faults:
        return Check("weights", "fail", "damaged", "sound", _listed("the weights are damaged", faults))
    evidence = list(found.fusion.evidence)
    if state in {"latent", "mixed"}:
        words = (
            f"the weights are {state}: fuse them with `weightsmith convert {model} DST --converter ternary`"
        )
        return Check("weights", "fail", state, "fused", _listed(words, evidence))
    words = f"no damage in a sample of {len(checkpoint.tensors)} tensors; ternary fusion: {state}"
    return Check("weights", "pass", state, "sound", _listed(words, evidence if state != "none" else []))


def _listed(words: str, items: list[str]) -> str:
    if not items:
        return words
    rest = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{words}: {'; '.join(items[:_NAMED])}{rest}"
