"""The fields of a config object under dotted names: `text_config.hidden_size`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.shapes.page.value import freeze, thaw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.json_value import Json
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.reference.untyped import ConfigObject

# Dicts that are not settings one by one: they stay whole.
_WHOLE = re.compile(r"rope|id2label|label2id|quantization|task_specific|per_layer_config|scaling")


def nested(values: Mapping[str, Value | Json]) -> dict[str, Json]:
    """{"text_config.hidden_size": 8} → {"text_config": {"hidden_size": 8}}; tuples become the lists of a config file.

    Raises TypeError, in Python's own words, where a setting lies inside another one that is no object.
    """
    tree: dict[str, Json] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        branch = tree
        for part in path:
            inner = branch.setdefault(part, {})
            if not isinstance(inner, dict):
                raise TypeError(f"{type(inner).__name__!r} object does not support item assignment")
            branch = inner
        # A copy: settings inside it are added to the tree, not to the caller's dict.
        branch[last] = thaw(value)
    return tree


def flatten(config: ConfigObject) -> dict[str, Value]:
    """Every field of a config object by its dotted name; sub-configs and small dicts of settings are opened.

    What is not JSON in the object (a torch.dtype, an inner config) is JSON in what `to_dict` returns. Lists become
    tuples here, so that no caller has to do with both.
    """
    return dict(_flat(config.to_dict(), config))


def parts_left_out(config: ConfigObject) -> dict[str, str]:
    """Section → its type, for each inner config that is null until a file states it.

    Those of any type are not among them: no class says which type is meant.
    """
    return {
        section: inner.model_type
        for section, inner in config.sub_configs.items()
        if getattr(config, section, None) is None and vars(inner).get("model_type")
    }


def _flat(data: Mapping[str, Json], config: ConfigObject, prefix: str = "") -> Iterator[tuple[str, Value]]:
    for name, value in data.items():
        inner = vars(config).get(name)
        if isinstance(value, dict) and hasattr(inner, "to_dict") and hasattr(inner, "model_type"):
            yield from _flat(value, inner, f"{prefix}{name}.")
        elif isinstance(value, dict) and value and not _WHOLE.search(name) and _are_settings(value):
            yield from ((f"{prefix}{name}.{key}", freeze(item)) for key, item in value.items())
        else:
            yield prefix + name, freeze(value)


def _are_settings(data: Mapping[str, Json]) -> bool:
    """Values under names, at least one a whole number: {"embed_dim": 1024, "img_size": [448, 448]}.

    A dict of a config object may have numbers as keys (of labels), which JSON would not have.
    """
    named = all(isinstance(k, str) and k.isidentifier() and not isinstance(v, dict) for k, v in data.items())
    return named and any(isinstance(v, int) for v in data.values())
