"""What JSON can hold, and how a number that JSON cannot hold is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring, encode_basestring_ascii
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
    return _text(value, "\n", encode_basestring_ascii if ascii_only else encode_basestring)


def _text(value: object, newline: str, quote: Callable[[str], str]) -> str:
    """One value as text. newline: begins a line at its depth. Python's own writer takes ten times as long."""
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value).replace("inf", "1e999")
    deeper = f"{newline}  "
    if isinstance(value, Mapping):
        lines = [f"{quote(str(key))}: {_text(inner, deeper, quote)}" for key, inner in value.items()]
        return f"{{{deeper}{f',{deeper}'.join(lines)}{newline}}}" if lines else "{}"
    if isinstance(value, list | tuple):
        lines = [_text(inner, deeper, quote) for inner in value]
        return f"[{deeper}{f',{deeper}'.join(lines)}{newline}]" if lines else "[]"
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _replaced(value: object, kept: Callable[[float], bool]) -> object:
    if isinstance(value, Mapping):
        return {key: _replaced(inner, kept) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(inner, kept) for inner in value]
    return value if not isinstance(value, float) or kept(value) else None
