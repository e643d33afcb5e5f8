"""What JSON can hold, and how a number that JSON cannot hold is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

# A JSON value as Python holds it. Read-only, so that a function that takes one promises not to change it.
Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
JsonObject: TypeAlias = Mapping[str, Json]


def finite(value: object) -> object:
    """`value` with every NaN and infinity in it, at any depth, replaced by null: JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
