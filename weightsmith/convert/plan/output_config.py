"""The config that goes beside the output: corrected by the weights, then changed by the converter; and what changed."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from weightsmith.convert.protocol import REMOVED
from weightsmith.shapes import infer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.json_value import JsonObject


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A dotted key and its value before and after; None stands for absent."""

    name: str
    before: object
    after: object

    def document(self) -> dict[str, object]:
        """One entry of `config_changes` in the JSON contract."""
        return {"name": self.name, "from": self.before, "to": self.after}


def true_config(table: Checkpoint, config: Mapping[str, object] | None) -> dict[str, object] | None:
    """What the shapes of the output prove its config to be: the one call into WITNESS 1.

    table: the output as planned. config: the source's own, or None; where no family fits it stays as it is.
    Returns None when there is none and none can be derived.
    """
    inference = infer(table, cast("JsonObject | None", config))
    if inference.verdict == "unknown":
        return None if config is None else dict(config)
    return dict(inference.config)


def apply(config: Mapping[str, object] | None, changes: Mapping[str, object]) -> dict[str, object] | None:
    """`config` with the converter's changes; a change to a key below one that is absent is left out."""
    if config is None:
        return None
    result: dict[str, object] = copy.deepcopy(dict(config))
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
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _compare(old, new, f"{prefix}{key}.")
        elif old != new or (key in before) != (key in after):
            yield ConfigChange(f"{prefix}{key}", old, new)


def encode(config: Mapping[str, object]) -> bytes:
    """As transformers writes it (two spaces, final newline), but keys in their own order: what changed can be seen."""
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
