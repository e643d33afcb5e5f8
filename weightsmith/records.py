"""Dataclasses and typed dictionaries as JSON and back. Reading checks every type: what comes in is what they say."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import (
    TYPE_CHECKING,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

if TYPE_CHECKING:
    from weightsmith.json_value import Json

R = TypeVar("R", bound="Record")
T = TypeVar("T")
# Metadata of a field that whoever reads a record works out: JSON does not have it.
MADE_HERE = {"made_here": True}


class NotARecord(ValueError):
    """A JSON value is not what a dataclass says it must be. The message names the place and the fact."""


class Record:
    """Base of a dataclass that JSON can hold: numbers, strings, None, `Literal`s, records, tuples and mappings of them.

    The keys of a mapping are strings or integers; JSON writes both as strings.
    """

    __slots__ = ()

    def to_json(self) -> dict[str, Json]:
        """Field name → value. NaN and infinities stay, as Python's own JSON writes and reads them."""
        return object_of(self)

    @classmethod
    def from_json(cls: type[R], value: object) -> R:
        """Reads what `to_json` gave. Unknown keys are left out. Raises NotARecord for anything else."""
        return cast("R", _read(cls, value, cls.__name__))


def read_as(expected: type[T], value: object) -> T:
    """A JSON value as a dataclass, or as a typed dictionary in which `object` is any value.

    Unknown keys are left out. Raises NotARecord for anything else.
    """
    return cast("T", _read(expected, value, expected.__name__))


@cache
def required_keys(kind: type) -> frozenset[str]:
    """Those that a JSON object must have to be read as a dataclass or a typed dictionary."""
    if is_typeddict(kind):
        return cast("frozenset[str]", vars(kind)["__required_keys__"])
    missing = dataclasses.MISSING
    return frozenset(
        field.name for field in _fields(kind) if field.default is missing and field.default_factory is missing
    )


def object_of(value: object) -> dict[str, Json]:
    """A dataclass as a JSON object, field by field; it need not be a record."""
    assert dataclasses.is_dataclass(value)
    return {field.name: json_of(getattr(value, field.name)) for field in dataclasses.fields(value)}


def json_of(value: object) -> Json:
    """A dataclass, or a tuple or mapping of them, as a JSON value. Raises TypeError for what JSON cannot hold."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value):
        return object_of(value)
    if isinstance(value, Mapping):
        return {str(key): json_of(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [json_of(inner) for inner in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


@cache
def hints_of(cls: type) -> dict[str, object]:
    """Field or key -> its type, of those that JSON has."""
    hints = get_type_hints(cls)
    made_here = [field.name for field in _fields(cls) if field.metadata == MADE_HERE]
    return {name: hint for name, hint in hints.items() if name not in made_here}


def _fields(cls: type) -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def _read(expected: object, value: object, where: str) -> object:
    """`value` as the type `expected` says it; `where` names the place for the error."""
    if expected is object or type(value) is expected:  # a bool is no int; most values are plain
        return value
    if isinstance(expected, type) and (dataclasses.is_dataclass(expected) or is_typeddict(expected)):
        return _read_record(expected, value, where)
    origin, inner = get_origin(expected), get_args(expected)
    if origin in {Union, types.UnionType}:
        return _read_union(inner, value, where)
    if origin is Literal and value in inner:
        return value
    # Tuples of records are all tuple[X, ...].
    if origin in {tuple, Sequence} and isinstance(value, list | tuple):
        return tuple(_read(inner[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {_key(inner[0], k, where): _read(inner[1], item, f"{where}.{k}") for k, item in value.items()}
    if expected is float and type(value) is int:
        return float(value)
    raise NotARecord(f"{where} is {_shown(value)}, not {_name(expected)}")


def _read_record(expected: type, value: object, where: str) -> object:
    if not isinstance(value, Mapping):
        raise NotARecord(f"{where} is {_shown(value)}, not an object")
    given: dict[str, object] = {}
    for name, hint in hints_of(expected).items():
        if name in value:
            given[name] = _read(hint, value[name], f"{where}.{name}")
        elif name in required_keys(expected):
            raise NotARecord(f"{where} has no {name}")
    return expected(**given)


def _read_union(alternatives: tuple[object, ...], value: object, where: str) -> object:
    """The first alternative that the value is. An int is not read as a float where the union has int as well."""
    if type(value) in alternatives:
        return value
    for one in alternatives:
        try:
            return _read(one, value, where)
        except NotARecord:
            continue
    raise NotARecord(f"{where} is {_shown(value)}, not {' or '.join(map(_name, alternatives))}")


def _shown(value: object) -> str:
    """A value in an error; of a list or an object, which may be huge, only what it is."""
    if isinstance(value, list | Mapping):
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}"
    return f"{value!r:.60}"


def _key(expected: object, key: str, where: str) -> str | int:
    if expected is str:
        return key
    if key.removeprefix("-").isdecimal():
        return int(key)
    raise NotARecord(f"{where} has the key {key!r}, which is no integer")


def _name(expected: object) -> str:
    return "null" if expected is type(None) else getattr(expected, "__name__", str(expected))
