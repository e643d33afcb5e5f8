"""What JSON can hold, and how a number that JSON cannot hold is written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

# A JSON value as Python holds it. Read-only, so that a function that takes one promises not to change it.
Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
JsonObject: TypeAlias = Mapping[str, Json]


def finite(value: object) -> object:
    """`value` with every NaN and infinity in it, at any depth, replaced by null: JSON has no such numbers."""
    return _replaced(value, math.isfinite)


def countable(value: object) -> object:
    """`value` with every NaN in it, at any depth, replaced by null; infinities stay: see `encode`."""
    return _replaced(value, lambda number: not math.isnan(number))


def is_finite(value: Json) -> bool:
    """Whether JSON can hold the value: no NaN and no infinity at any depth."""
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def encode(value: object, *, ascii_only: bool = False) -> str:
    """`value` as JSON text, indented; an infinity as 1e999.

    JSON has no infinity, but any number of digits: readers that count in doubles take 1e999 as the infinity that it
    stands for, and the text is valid JSON for all others. `value` must hold no NaN.
    """
    pieces = json.JSONEncoder(indent=2, ensure_ascii=ascii_only).iterencode(value)
    # Each piece ends in one value, strings with their quotes: none but a number can end so.
    return "".join(
        f"{piece.removesuffix('Infinity')}1e999" if piece.endswith("Infinity") else piece for piece in pieces
    )


def _replaced(value: object, kept: Callable[[float], bool]) -> object:
    if isinstance(value, Mapping):
        return {key: _replaced(inner, kept) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(inner, kept) for inner in value]
    return value if not isinstance(value, float) or kept(value) else None
