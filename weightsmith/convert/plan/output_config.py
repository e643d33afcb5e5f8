"""The config that goes beside the output: corrected by the weights, then changed by the converter; and what changed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from weightsmith.checkpoint import config_above
from weightsmith.convert.protocol import REMOVED
from weightsmith.errors import ConversionRefused
from weightsmith.json_value import encode_config
from weightsmith.shapes import infer
from weightsmith.shapes.guesses import as_text, names_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint, Problem
    from weightsmith.documents import ConfigChangeEntry
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes import Inference
    from weightsmith.shapes.given.ties import Copies


# Problems that are left when the config is corrected and the packing undone.
_MISSING, _ADAPTER = "missing-tensors", "adapter"
_KEPT = frozenset(
    {_MISSING, "unmatched-tensors", "list-length", "rule", "tokenizer-vocabulary", "special-id", "auto-map"}
)
_MERGE = (
    "merge it into its base with --converter lora --set base=FOLDER, or serve it beside the base as it is"
)
# Settings that are named of those that have class defaults.
_LISTED = 6


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A dotted key and its value before and after; None stands for absent."""

    name: str
    before: object
    after: object

    def document(self) -> ConfigChangeEntry:
        """One entry of `config_changes` in the JSON contract."""
        return {"name": self.name, "from": self.before, "to": self.after}


@dataclass(frozen=True, slots=True)
class TrueConfig:
    """The config that the output gets, None for none.

    guesses: what in it was chosen among several values, by name. notes: what the user should know of it.
    problems: what the weights lack, or have too much, for a loader of this config.
    """

    config: Mapping[str, object] | None
    guesses: Mapping[str, object]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...] = ()


def true_config(
    table: Checkpoint,
    copies: Copies | None,
    source: Checkpoint,
    config: Mapping[str, object] | None,
    changes: Mapping[str, object],
    *,
    accept_guesses: bool,
    allow_damage: bool = False,
) -> TrueConfig:
    """What the shapes of the output prove its config to be: the one call into WITNESS 1.

    table: the output as planned, of which no numbers can be read yet. copies: which of its tensors hold the same ones;
    None where the table is the source's own. source: what it is made from. config: the source's own, or None; where no
    family fits it stays as it is. changes: what the converter knows of the config; it decides what the weights leave
    open. accept_guesses: write what nothing decides. allow_damage: go on without tensors that the config demands.
    Raises ConversionRefused where there is such a thing and it is not accepted, and for an adapter.
    """
    stated = cast("JsonObject | None", config)
    notes = _found_above(source)
    guesses: dict[str, Json] = {}
    problems: tuple[Problem, ...] = ()
    if stated is None:
        made = _derive(source, changes)
        made = _derive(table, changes, copies) if made.verdict == "unknown" else made
        _refuse_no_model(made, source)
        notes += _made(made)
        guesses |= _settled(made, source, accept_guesses)
        stated = None if made.verdict == "unknown" else made.config
    if stated is not None:
        found = infer(table, stated, copies=copies)
        _refuse_no_model(found, source)
        problems = _found(found, source, allow_damage)
        guesses |= _settled(found, source, accept_guesses)
        failure = found.failure()
        if failure is not None:
            notes += (f"{failure.fact}: names and config are kept as they are",)
        stated = stated if failure is not None else found.config
    taken = ", ".join(f"{name}={as_text(value)}" for name, value in guesses.items())
    return TrueConfig(stated, guesses, (*notes, f"guessed: {taken}") if taken else notes, problems)


def _refuse_no_model(found: Inference, source: Checkpoint) -> None:
    """Raises ConversionRefused for an adapter of whatever kind: under a model's file names nothing would load it."""
    told = None if found.instead is None else found.instead.problem
    if told is not None and told.code == _ADAPTER:
        raise ConversionRefused(source.path, f"holds {told.message}", _MERGE)
    if all(file.startswith("adapter_") for file in source.files):
        raise ConversionRefused(
            source.path, f"holds an adapter, no model ({next(iter(source.files))})", _MERGE
        )


def _found(found: Inference, source: Checkpoint, allow_damage: bool) -> tuple[Problem, ...]:
    """What `infer` says of the tensors that are written. Raises ConversionRefused where some are lost."""
    told = tuple(problem for problem in found.problems if problem.code in _KEPT)
    lost = next((problem for problem in told if problem.code == _MISSING and problem.stops_loader), None)
    # Code of the model's own may do without what the family's class demands.
    if lost is not None and not allow_damage and "auto_map" not in found.config:
        way_out = (
            "get the whole of it, or convert what there is with --allow-damage (library: allow_damage=True)"
        )
        raise ConversionRefused(source.path, f"is incomplete: {lost.message}", way_out)
    return told


def _derive(table: Checkpoint, changes: Mapping[str, object], copies: Copies | None = None) -> Inference:
    """The config that the weights prove, without a file; the converter decides what they leave open."""
    found = infer(table, None, copies=copies)
    known = {name: value for name, value in changes.items() if value is not REMOVED}
    told = {guess.name: cast("Json", known[guess.name]) for guess in found.guesses if guess.name in known}
    return infer(table, None, user_set=told, copies=copies) if told else found


def _settled(found: Inference, source: Checkpoint, accept_guesses: bool) -> dict[str, Json]:
    """The guesses, by name, if they are accepted. Raises ConversionRefused for those that are not."""
    if found.ruled_out:
        way_out = "it is another model than this converter is for; name another with --converter"
        raise ConversionRefused(source.path, found.ruled_out.message, way_out)
    if found.guesses and not accept_guesses:
        path = shlex.quote(str(source.path))
        command = f"weightsmith infer-config {path} --write {settings_of(found.guesses)}"
        way_out = f"write one first, such as with `{command}`, or take the guesses with --accept-guesses"
        raise ConversionRefused(
            source.path, f"nothing decides {names_of(found.guesses)} of its config", way_out
        )
    return {guess.name: guess.value for guess in found.guesses}


def _found_above(source: Checkpoint) -> tuple[str, ...]:
    return ("the config is that of the folder above",) if config_above(source) else ()


def _made(found: Inference) -> tuple[str, ...]:
    """What a config that was made without a file rests on."""
    if found.verdict == "unknown":
        return (
            "there is no config.json, and no family of the catalog explains the tensors: none is written",
        )
    silent = [field.name for field in found.fields if field.status == "unverifiable"]
    by_default = f"; no shape tells {_some(silent)}: class defaults" if silent else ""
    return (f"there is no config.json: one was made from the weights{by_default}",)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def apply(config: Mapping[str, object] | None, changes: Mapping[str, object]) -> dict[str, object] | None:
    """`config` with the converter's changes; a change to a key below one that is absent is left out."""
    if config is None:
        return None
    result = {key: _copied(value) for key, value in config.items()}
    for dotted, value in changes.items():
        *parents, key = dotted.split(".")
        place: object = result
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            continue
        if value is REMOVED:
            place.pop(key, None)
        else:
            place[key] = value
    return result


def _copied(value: object) -> object:
    """A JSON value with objects of its own, which alone are changed; lists are shared."""
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def compare(
    before: Mapping[str, object] | None, after: Mapping[str, object] | None
) -> tuple[ConfigChange, ...]:
    """Every leaf that differs, in the order of `before`, then what is new."""
    return tuple(_compare(before or {}, after or {}, ""))


def _compare(
    before: Mapping[str, object], after: Mapping[str, object], prefix: str
) -> Iterator[ConfigChange]:
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            yield from _compare(old, new, f"{prefix}{key}.")
        elif old != new or (key in before) != (key in after):
            yield ConfigChange(f"{prefix}{key}", old, new)


def encode(config: Mapping[str, object]) -> bytes:
    """As transformers writes it (two spaces, final newline), but keys in their own order: what changed can be seen."""
    return (encode_config(config) + "\n").encode()
