"""Which transformers a config is written for, and what the other one reads otherwise.

transformers 5 has `rope_parameters` where 4 has `rope_theta` and `rope_scaling`. 5 reads all three
(modeling_rope_utils.py, `RotaryEmbeddingConfigMixin`). 4.57 reads its own two alone, and takes its class's own values
where a config lacks them: positions are then turned by another angle, and nothing says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.json_value import JsonObject

Dialect: TypeAlias = Literal["transformers-4", "transformers-5"]
_NEW = "rope_parameters"
_OLD = ("rope_theta", "rope_scaling")


def dialect_of(config: JsonObject) -> Dialect | None:
    """The version whose words the config uses; None where it has none that only one of them writes."""
    parts = list(_parts(config))
    version = str(config.get("transformers_version"))
    if any(_NEW in part for _, part in parts) or version.startswith("5."):
        return "transformers-5"
    old = version.startswith("4.") or any(
        word in part for _, part in parts for word in (*_OLD, "torch_dtype")
    )
    return "transformers-4" if old else None


def misread(config: JsonObject) -> Iterator[str]:
    """What the other version takes otherwise than the config says: one sentence each."""
    for place, part in _parts(config):
        stated = part.get(_NEW)
        if not isinstance(stated, dict):
            continue
        if lost := list(_lost(stated, part)):
            yield f"transformers 4 does not read {place}{_NEW}: it takes {' and '.join(lost)} of its class"


def _lost(stated: JsonObject, part: JsonObject) -> Iterator[str]:
    """The settings of transformers 4 that are not stated beside. There may be an object for each kind of layer."""
    kinds: list[JsonObject] = [kind for kind in stated.values() if isinstance(kind, dict)] or [stated]
    if any("rope_theta" in kind for kind in kinds) and "rope_theta" not in part:
        yield "rope_theta"
    scaled = any(kind.get("rope_type", "default") != "default" or "mrope_section" in kind for kind in kinds)
    if scaled and "rope_scaling" not in part:
        yield "rope_scaling"


def _parts(config: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """(its name with a dot, the config of a part), the whole one first."""
    yield "", config
    for name, value in config.items():
        if isinstance(value, dict) and name != _NEW:
            yield f"{name}.", value
