"""Settings of some layers alone, as transformers saves them since 5.19: `per_layer_config`, beside those of all layers.

A class that has a setting for its global layers (`global_head_dim`) still takes it by that name, and writes it as
`per_layer_config: {"05": {"head_dim": 512}}`; a layer whose value is that of all layers is left out there, and where
every value is, none is left. Where `per_layer_config` stands, the class takes it alone. Source: transformers,
configuration_utils.py (HeterogeneousConfigMixin) and models/gemma4/configuration_gemma4.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.given.config import lookup, with_values
from weightsmith.shapes.page.value import freeze

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.page import Page

OVERRIDES = "per_layer_config"
# What a page calls the setting of the layers that differ: `num_global_key_value_heads`.
_GLOBAL = "global_"


def with_overrides(config: JsonObject | None, page: Page) -> JsonObject | None:
    """The config with each such setting under the page's name; the same object where none is said in this way."""
    found: dict[str, Json] = {}
    for field in page.fields:
        of_all = lookup(config, "".join(_base(field)))[1]
        values = [entry.get(_base(field)[1], of_all) for entry in _entries(config, field).values()]
        if not values and of_all is not None and _has_none(config, field):
            values = [of_all]
        if values and len({freeze(value) for value in values}) == 1:
            found[field] = values[0]
    return with_values(config, found) if config is not None and found else config


def taken_from_all(config: JsonObject | None, field: str) -> str | None:
    """The setting of all layers that global ones have in this file, which says nothing else of theirs; else None."""
    entries = _entries(config, field)
    said = any(_base(field)[1] in entry for entry in entries.values())
    return "".join(_base(field)) if not said and (entries or _has_none(config, field)) else None


def places_of_overrides(config: JsonObject | None, field: str) -> list[str]:
    """Where the file says the setting of each layer: dotted names; none where it does not say it in this way."""
    section, name = _base(field)
    return [f"{section}{OVERRIDES}.{layer}.{name}" for layer in _entries(config, field)]


def _entries(config: JsonObject | None, field: str) -> Mapping[str, Mapping[str, Json]]:
    """Layer → its own settings, where the file has such and the field is one of global layers."""
    if _GLOBAL not in field.rpartition(".")[2]:
        return {}
    section, _ = _base(field)
    stated = lookup(config, section + OVERRIDES)[1]
    if not isinstance(stated, dict):
        return {}
    return {layer: entry for layer, entry in stated.items() if isinstance(entry, dict)}


def _has_none(config: JsonObject | None, field: str) -> bool:
    """Whether the file says that no layer has a setting of its own, and the field is one of global layers."""
    return _GLOBAL in field.rpartition(".")[2] and lookup(config, _base(field)[0] + OVERRIDES)[1] == {}


def _base(field: str) -> tuple[str, str]:
    """(section with its dot, name that the setting has for all layers)."""
    section, dot, name = field.rpartition(".")
    return section + dot, name.replace(_GLOBAL, "", 1)
