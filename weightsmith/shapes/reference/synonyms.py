"""Which other names a config class takes for its settings, found out by stating a setting under each of them."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import TYPE_CHECKING

from weightsmith.shapes.reference.config_fields import flatten, nested
from weightsmith.shapes.reference.meta_models import config_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.json_value import Json
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.reference.untyped import ConfigObject

_TAKEN = re.compile(r"""kwargs\.(?:pop|get)\(["'](\w+)["']""")


def synonyms(model_type: str, fields: Iterable[str]) -> dict[str, str]:
    """Alias → field, for the numbers and flags of a page that a class also reads under another name.

    From its table of attributes, by a line of its code, or at the top of a file that lacks the object they belong to.
    """
    default = config_of(model_type, {})
    if default is None:
        return {}
    values = flatten(default)
    return {
        alias: field
        for field in fields
        for alias in dict.fromkeys(_names(default, field, values))
        if _is_read(model_type, alias, field, values.get(field))
    }


def yielding(model_type: str, aliases: Mapping[str, str]) -> list[str]:
    """Of aliases (→ field) those that the class reads only where a file lacks the field: it sets the others last."""
    default = config_of(model_type, {})
    values = flatten(default) if default is not None else {}
    found = []
    for alias, field in aliases.items():
        beside = alias.rpartition(".")[0] == field.rpartition(".")[0]
        one, *others = _trials(values.get(field)) if beside else [None]
        config = config_of(model_type, nested({alias: one, field: others[0]})) if others else None
        if config is not None and flatten(config).get(field) != one:
            found.append(alias)
    return found


def _is_read(model_type: str, alias: str, field: str, usual: Value) -> bool:
    """Whether the field has the alias's value, whichever that is: once may be a coincidence."""
    read = []
    for value in _trials(usual):
        config = config_of(model_type, nested({alias: value}))
        if config is not None:
            read.append(flatten(config).get(field) == value)
    return len(read) > 1 and all(read)


def _trials(usual: Value) -> list[Value]:
    if isinstance(usual, bool):
        return [True, False]
    if usual in (None, 0, 1):
        return [8, 24]
    return [2 * usual, usual // 2, 3 * usual] if isinstance(usual, int) else []


def _names(default: ConfigObject, field: str, values: Mapping[str, Value]) -> Iterator[str]:
    prefix, _, last = field.rpartition(".")
    owner = owner_of_field(default, field)
    own = [alias for alias, name in (getattr(owner, "attribute_map", None) or {}).items() if name == last]
    kind: type = type(owner)
    for alias in (*own, *taken(kind)):
        name = f"{prefix}.{alias}".lstrip(".")
        if name not in values and name != field:
            yield name
    if prefix and "." not in prefix and last not in values:
        yield last


def owner_of_field(config: ConfigObject, field: str) -> ConfigObject:
    """The config, or the one inside it, that has a dotted field; None where there is none."""
    for part in field.split(".")[:-1]:
        config = getattr(config, part, None)
    return config


@cache
def taken(owner: type) -> tuple[str, ...]:
    """What a class takes out of a config under names of its own: Bloom's `n_embed`."""
    try:
        return tuple(dict.fromkeys(_TAKEN.findall(inspect.getsource(owner))))
    except (OSError, TypeError):
        return ()


def config_of(model_type: str, stated: Mapping[str, Json]) -> ConfigObject:
    """The config object of a file that states these; None where the class refuses it."""
    try:
        return config_class(model_type).from_dict({**stated, "model_type": model_type})
    except Exception:  # validators of config classes raise anything; a refusal is an answer here
        return None
