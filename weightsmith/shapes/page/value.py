"""What a config field can hold, and its two forms: tuples to reckon with, lists as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

if TYPE_CHECKING:
    from weightsmith.json_value import Json

# A list is frozen to a tuple where a config or a page is read, so that every value but an object can be compared and
# kept in sets. An object is one value where nothing reads its parts (`rope_parameters`); elsewhere its parts are
# fields with dotted names.
Value: TypeAlias = bool | int | float | str | tuple["Value", ...] | Mapping[str, "Value"] | None
# A value as a config object of transformers holds it: with lists, or of a type that JSON does not have.
Untyped: TypeAlias = Any


def is_number(value: object) -> TypeGuard[int]:
    """A whole number; a flag is none, though Python counts with it."""
    return isinstance(value, int) and not isinstance(value, bool)


def freeze(value: Json | Value) -> Value:
    """Lists as tuples, at any depth."""
    if isinstance(value, list | tuple):
        return tuple(map(freeze, value))
    if isinstance(value, dict):
        return {key: freeze(inner) for key, inner in value.items()}
    return cast("Value", value)


def thaw(value: Value | Json) -> Json:
    """Tuples as the lists that JSON has, at any depth."""
    if isinstance(value, list | tuple):
        return list(map(thaw, value))
    if isinstance(value, dict):
        return {key: thaw(inner) for key, inner in value.items()}
    return value
