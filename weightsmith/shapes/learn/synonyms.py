"""Which other names a config class takes for its settings: asked by stating them, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightsmith.shapes.learn.reference import config_class, flatten, nested

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.shapes.expression import Value


def synonyms(model_type: str, fields: Iterable[str]) -> dict[str, str]:
    """Alias → field, for the numbers and flags of a page that a class also reads under another name.

    Either from its own table of attributes, or at the top of a file that lacks the object they belong to.
    """
    default = _values(model_type, {})
    if default is None:
        return {}
    found = {}
    for field in fields:
        for alias in _names(model_type, field, default):
            value = default.get(field)
            for other in _others(value):
                read = _values(model_type, nested({alias: other}))
                if read is not None and read.get(field) == other != value:
                    found[alias] = field
                    break
    return found


def _names(model_type: str, field: str, default: Mapping[str, Value]) -> Iterator[str]:
    prefix, _, last = field.rpartition(".")
    owner: Any = config_class(model_type)
    for part in prefix.split(".") if prefix else ():
        owner = getattr(owner, "sub_configs", {}).get(part)
    for alias, own in (getattr(owner, "attribute_map", None) or {}).items():
        if own == last:
            yield f"{prefix}.{alias}".lstrip(".")
    if prefix and "." not in prefix and last not in default:
        yield last


def _others(value: Value) -> list[Value]:
    if isinstance(value, bool):
        return [not value]
    return [2 * value, value // 2, value + 1] if isinstance(value, int) else [8] if value is None else []


def _values(model_type: str, stated: Mapping[str, Any]) -> dict[str, Value] | None:
    """Every setting of a config that states these; None where the class refuses it."""
    try:
        return flatten(config_class(model_type).from_dict({**stated, "model_type": model_type}))
    except Exception:  # whatever a validator raises
        return None
