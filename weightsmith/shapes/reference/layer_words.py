"""The words that transformers has for kinds of layers, today's and older ones."""

from __future__ import annotations

from functools import cache


@cache
def layer_words() -> tuple[str, ...]:
    """What the items of `layer_types` and `mlp_layer_types` may be, in the order of transformers' own list."""
    from transformers.configuration_utils import ALLOWED_LAYER_TYPES

    return tuple(dict.fromkeys(ALLOWED_LAYER_TYPES))


@cache
def old_layer_words() -> tuple[str, ...]:
    """Words of published configs that transformers replaces; empty in a version that has no table of them."""
    from transformers import configuration_utils

    return tuple(getattr(configuration_utils, "_LEGACY_LAYER_TYPE_REMAP", {}))
