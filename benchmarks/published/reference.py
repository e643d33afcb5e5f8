"""What transformers builds from a published config: the truth that a model is judged by."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.given.config import assign
from weightsmith.shapes.given.draft_layers import stated_counts
from weightsmith.shapes.reference.meta_models import (
    Rejected,
    Shapes,
    architectures,
    build,
    config_class,
    one_line,
)

if TYPE_CHECKING:
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.reference.untyped import ConfigClass, ConfigObject

BUILD_SECONDS = 120.0
# The tensors are judged as they are before they are packed, and classes that travel with a checkpoint are not run.
_NOT_BUILT = ("quantization_config", "auto_map")


@dataclass(frozen=True, slots=True)
class Truth:
    """A model as transformers builds it.

    config: as published, without what says how its tensors are packed, and with no draft layers counted.
    settings: every field of the config as its class fills it in.
    """

    architecture: str
    config: JsonObject
    settings: ConfigObject
    shapes: Shapes


def build_truth(published: JsonObject) -> Truth:
    """Raises Rejected where transformers has no class for the config or refuses it."""
    config = _built_of(copy.deepcopy(dict(published)))
    for name in stated_counts(config):  # transformers writes no draft layers
        assign(config, name, 0)
    architecture = _architecture(config)
    settings = _read(_config_class(config, architecture), config)
    return Truth(architecture, config, settings, build(architecture, settings, BUILD_SECONDS).shapes)


def _built_of(config: JsonObject) -> dict[str, Json]:
    """A config without what is not built, also in the configs of its parts."""
    return {
        key: _built_of(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _NOT_BUILT
    }


def rebuild(config: JsonObject) -> Shapes:
    """The tensors of a derived config, of the class that it names. Raises Rejected."""
    architecture = _architecture(config)
    return build(architecture, _read(_config_class(config, architecture), config), BUILD_SECONDS).shapes


def _architecture(config: JsonObject) -> str:
    """The class that the config names, else the usual one of its type."""
    import transformers

    stated = config.get("architectures")
    named = [str(name) for name in stated] if isinstance(stated, list) else []
    known = architectures(str(config["model_type"]))
    found = next((name for name in [*named, *known] if hasattr(transformers, name)), None)
    if found is None:
        raise Rejected(f"transformers has no class {(named or [config['model_type']])[0]}")
    return found


def _config_class(config: JsonObject, architecture: str) -> ConfigClass:
    """The class of the type, else that of the architecture: kimi_k2 is read by DeepseekV3ForCausalLM."""
    import transformers

    try:
        return config_class(str(config["model_type"]))
    except Rejected:
        return getattr(transformers, architecture).config_class


def _with_parts_of_class(kind: ConfigClass, config: JsonObject) -> JsonObject:
    """A config whose parts stand where its class reads them.

    Qwen3-ASR was published with both parts under thinker_config. transformers reads them at the top, from a converted
    file, and takes the published one without a word: a model of the default sizes would come out, which nobody has.
    The publisher's names of the parts' types are not its own, either.
    """
    within = (s for n, s in config.items() if n not in kind.sub_configs and isinstance(s, dict))
    parts = next((s for s in within if kind.sub_configs and kind.sub_configs.keys() <= s.keys()), None)
    if parts is None:
        return config
    return {**config, **{name: _of_known_type(parts[name]) for name in kind.sub_configs}}


def _of_known_type(part: Json) -> Json:
    """The config of a part, without the name of a type that transformers lacks."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not isinstance(part, dict) or part.get("model_type") in CONFIG_MAPPING:
        return part
    return {name: value for name, value in part.items() if name != "model_type"}


def _read(kind: ConfigClass, config: JsonObject) -> ConfigObject:
    try:
        # transformers saves by the type's name: kimi_k2 is none of its own.
        return kind.from_dict({**_with_parts_of_class(kind, config), "model_type": kind.model_type})
    except Exception as error:  # config classes raise anything on a config that they refuse
        raise Rejected(one_line(error)) from error
