"""The settings of a model's decoder, whatever its config calls them: the true ones, completed with class defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.page.page import catalog_types, load_page
from weightsmith.shapes.page.value import thaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes import Inference

# Where configs of models with several parts keep what describes the language model (vLLM, `get_hf_text_config`).
_DECODERS = (
    "",
    "text_config.",
    "thinker_config.text_config.",
    "llm_config.",
    "language_config.",
    "language_model.",
)
# What MiniMax's numbers stand for.
_KINDS = {"0": "linear_attention", "1": "full_attention"}


@dataclass(frozen=True, slots=True)
class Settings:
    """values: dotted name → the value that the weights force, else that of the file, else the class default."""

    values: Mapping[str, Json]

    def get(self, *names: str) -> Json:
        """The first of these settings that the decoder has; None where it has none of them."""
        for name in names:
            for place in reversed(_DECODERS):
                value = self.values.get(place + name)
                if value is not None:
                    return value
        return None

    def number(self, *names: str) -> int | None:
        """A whole number; one for each layer counts as one where all are the same."""
        value = self.get(*names)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def kinds(self, layers: int) -> tuple[str, ...]:
        """What kind each layer is; empty where nothing says it.

        A class default is a pattern that is repeated, as long as the class's own number of layers.
        """
        value = self.get("layer_types", "layers_block_type", "attn_type_list")
        words = [_KINDS.get(str(item), str(item)) for item in value] if isinstance(value, list) else []
        if not words or len(words) >= layers:
            return tuple(words[:layers])
        periods = (
            n for n in range(1, len(words) + 1) if all(words[i] == words[i % n] for i in range(len(words)))
        )
        period = next(periods)
        return tuple(words[layer % period] for layer in range(layers))


def settings_of(inference: Inference) -> Settings:
    """What infer-config found, a setting that it does not know as the file or else the class has it."""
    model_type = inference.architecture.model_type
    page = load_page(model_type) if model_type in catalog_types() else None
    values = {name: thaw(value) for name, value in page.unverifiable.items()} if page is not None else {}
    values.update(_flat(inference.config))
    for row in inference.fields:
        for value in (row.default, row.configured, row.derived):
            if value is not None:
                values[row.name] = value
    return Settings(values)


def kv_heads(settings: Settings) -> int | None:
    """How many heads of keys and values a layer has (vLLM, `get_total_num_kv_heads`)."""
    names = (
        "n_head_kv",
        "num_kv_heads",
        "num_key_value_heads",
        "multi_query_group_num",
        "num_attention_groups",
    )
    if settings.get("multi_query") is True and not settings.get("new_decoder_architecture"):
        return 1
    return settings.number(*names) or settings.number("num_attention_heads", "n_head", "n_heads", "num_heads")


def settings_in(config: JsonObject) -> Settings:
    """What a config says, without the class defaults that it leaves out."""
    return Settings(dict(_flat(config)))


def _flat(config: JsonObject, before: str = "") -> list[tuple[str, Json]]:
    """(dotted name, value) of everything in a config but objects, which are gone into; two levels are enough."""
    found: list[tuple[str, Json]] = []
    for name, value in config.items():
        if isinstance(value, dict) and before.count(".") < 2:
            found += _flat(value, f"{before}{name}.")
        found.append((before + name, value))
    return found
