"""What a config field can hold, and its two forms: tuples to reckon with, lists as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, cast

if TYPE_CHECKING:
    from weightsmith.json_value import Json

# Lists and objects are frozen where a config or a page is read, so that every value can be compared and kept in sets.
# An object is one value where nothing reads its parts (`rope_parameters`); elsewhere its parts are fields with dotted
# names.
Value: TypeAlias = bool | int | float | str | tuple["Value", ...] | Mapping[str, "Value"] | None


# No model has so many layers, stages or experts in a row: a longer list is not made of a number that a file states.
LONGEST_LIST = 4_096


class Settings(dict[str, "Value"]):
    """An object of a config as one value: a dict that nobody changes, and that can be kept in sets."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]  # dict itself has none
        return hash(frozenset(self.items()))


def is_number(value: object) -> TypeGuard[int]:
    """A whole number; a flag is none, though Python counts with it."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number_list(value: object) -> TypeGuard[tuple[int, ...]]:
    """A list of whole numbers, which may be empty."""
    return isinstance(value, tuple) and all(map(is_number, value))


def numbers_of(values: Mapping[str, Value]) -> dict[str, int]:
    """The fields that hold a whole number."""
    return {name: value for name, value in values.items() if is_number(value)}


def freeze(value: Json | Value) -> Value:
    """Lists as tuples and objects as `Settings`, at any depth."""
    if isinstance(value, list | tuple):
        return tuple(map(freeze, value))
    if isinstance(value, dict):
        return Settings((key, freeze(inner)) for key, inner in value.items())
    return cast("Value", value)


def thaw(value: Value | Json) -> Json:
    """Tuples as the lists that JSON has, at any depth, and keys as its strings: class names may be keyed by numbers."""
    if isinstance(value, list | tuple):
        return list(map(thaw, value))
    if isinstance(value, dict):
        return {str(key): thaw(inner) for key, inner in value.items()}
    return value
