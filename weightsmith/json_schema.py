"""JSON Schema (2020-12) of the types that documents are made of: typed dictionaries, dataclasses and what they hold."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Union, get_args, get_origin, is_typeddict

from weightsmith.records import hints_of, required_keys

if TYPE_CHECKING:
    from weightsmith.json_value import Json, JsonObject

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of(kind: object, title: str) -> JsonObject:
    """The schema of one type; a key that the type lacks makes a document invalid. Raises TypeError for other types."""
    definitions: dict[str, Json] = {}
    schema = _schema(kind, definitions)
    return {"$schema": DIALECT, "title": title, **schema, "$defs": dict(sorted(definitions.items()))}


def _schema(kind: object, definitions: dict[str, Json]) -> dict[str, Json]:
    if kind is object:
        return {}
    if isinstance(kind, type) and kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if isinstance(kind, type) and (is_typeddict(kind) or dataclasses.is_dataclass(kind)):
        return _named(kind, definitions)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in {Union, types.UnionType}:
        return _any_of(inner, definitions)
    if origin in {Mapping, dict}:
        return {"type": "object", "additionalProperties": _schema(inner[1], definitions)}
    if origin in {Sequence, list, tuple}:
        return _array(inner, definitions)
    raise TypeError(f"{kind} has no schema")


def _array(inner: tuple[object, ...], definitions: dict[str, Json]) -> dict[str, Json]:
    """A sequence, or a tuple of a known length."""
    if len(inner) == 1 or inner[1] is Ellipsis:
        return {"type": "array", "items": _schema(inner[0], definitions)}
    items: list[Json] = [_schema(one, definitions) for one in inner]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _any_of(inner: tuple[object, ...], definitions: dict[str, Json]) -> dict[str, Json]:
    """Types that have nothing but a name become one list of names."""
    found = [_schema(one, definitions) for one in inner]
    if all(one.keys() == {"type"} for one in found):
        return {"type": [one["type"] for one in found]}
    alternatives: list[Json] = [*found]
    return {"anyOf": alternatives}


def _named(kind: type, definitions: dict[str, Json]) -> dict[str, Json]:
    """A reference to the definition of a class, which is written down once."""
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # of a type that holds itself
        properties = {key: _schema(hint, definitions) for key, hint in hints_of(kind).items()}
        definitions[name] = {
            "type": "object",
            **({"description": " ".join(kind.__doc__.split())} if kind.__doc__ else {}),
            "properties": properties,
            "required": [key for key in properties if key in required_keys(kind)],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}
