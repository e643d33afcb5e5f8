"""What JSON can hold, and how a number that JSON cannot hold is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import TypeAlias

# A JSON value as Python holds it. Read-only, so that a function that takes one promises not to change it.
Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
JsonObject: TypeAlias = Mapping[str, Json]

# Asked of every value: an abstract class takes far longer to ask than a plain one, and `str | int` is made each time.
_PLAIN = (str, int, type(None))
_LIST = (list, tuple)
_OBJECT = (dict, Mapping)
# How a line of the outermost object begins, and what Python writes for a number that JSON has not.
_DEEPER = "\n  "
_WORDS = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


def finite(value: object) -> object:
    """`value` with every NaN and infinity in it, at any depth, replaced by null: JSON has no such numbers."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, _LIST):
        return [finite(inner) for inner in value]
    if isinstance(value, _OBJECT):
        return {key: finite(inner) for key, inner in value.items()}
    return value if not isinstance(value, float) or math.isfinite(value) else None


def is_finite(value: Json) -> bool:
    """Whether JSON can hold the value: no NaN and no infinity at any depth."""
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def encode(
    document: Mapping[str, object], *, infinite: Collection[str] = (), ascii_only: bool = False
) -> str:
    """`document` as JSON text, indented; NaN and infinity as null.

    infinite: its keys under which an infinity is written as 1e999. JSON has no infinity, but any number of digits:
    readers that count in doubles take 1e999 as the infinity that it stands for, and the text is valid JSON for all.
    """
    quote = encode_basestring_ascii if ascii_only else encode_basestring
    lines = [
        f"{quote(key)}: {_text(value, _DEEPER, quote, _infinite if key in infinite else _finite)}"
        for key, value in document.items()
    ]
    return f"{{{_DEEPER}{f',{_DEEPER}'.join(lines)}\n}}" if lines else "{}"


def encode_config(config: Mapping[str, object]) -> str:
    """A config as Python writes it, indented by two; `Infinity` and `NaN` are words, as transformers reads them."""
    return _text(config, "\n", encode_basestring, _in_python)


def _in_python(number: float) -> str:
    text = float.__repr__(number)
    return _WORDS.get(text, text)


def _finite(number: float) -> str:
    return float.__repr__(number) if math.isfinite(number) else "null"


def _infinite(number: float) -> str:
    return "null" if math.isnan(number) else float.__repr__(number).replace("inf", "1e999")


def _text(value: object, newline: str, quote: Callable[[str], str], number: Callable[[float], str]) -> str:
    """One value as text. newline: begins a line at its depth. Python's own writer takes ten times as long."""
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return number(value)
    deeper = f"{newline}  "
    if isinstance(value, _LIST):
        lines = [_text(inner, deeper, quote, number) for inner in value]
        return f"[{deeper}{f',{deeper}'.join(lines)}{newline}]" if lines else "[]"
    if isinstance(value, _OBJECT):
        lines = [f"{quote(str(key))}: {_text(inner, deeper, quote, number)}" for key, inner in value.items()]
        return f"{{{deeper}{f',{deeper}'.join(lines)}{newline}}}" if lines else "{}"
    raise TypeError(f"{type(value).__name__} has no form in JSON")
