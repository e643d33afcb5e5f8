"""Decides, once per process, whether HRM-Text is ours to serve here, and tells vLLM so."""

from __future__ import annotations

import logging
import os
from typing import Any, Literal

# Under vLLM's own logger, so that the line appears where its user looks.
_LOG = logging.getLogger("vllm.weightsmith")

ARCHITECTURE = "HrmTextForCausalLM"
MODEL_TYPE = "hrm_text"
MODEL = "weightsmith.vllm_plugin.model:HrmTextForCausalLM"
# auto (default), adapter (ours even where vLLM's own would do), native (never ours).
CHOICE_VARIABLE = "WEIGHTSMITH_HRM_TEXT"

Owner = Literal["adapter", "native"]


def owner(native: bool, ascend: bool, wish: str) -> Owner:
    """Who serves HRM-Text. native: vLLM has a class of its own; ascend: the platform is vllm-ascend's.

    vLLM's own class (from 0.24) relies on backends that honour `causal=False`. Ascend's does not in 0.18, and
    not in full-graph decode up to 0.25.0 (field-notes 7 and 10), so there the adapter takes over.
    """
    if wish in ("adapter", "native"):
        return "adapter" if wish == "adapter" else "native"
    return "adapter" if ascend or not native else "native"


def register() -> None:
    """Registers model, config and settings hook where the adapter is the owner; does nothing the second time."""
    from vllm import ModelRegistry

    if _is_ours(ModelRegistry):
        return
    native = ARCHITECTURE in ModelRegistry.get_supported_archs()
    wish = os.environ.get(CHOICE_VARIABLE, "auto").lower()
    if owner(native, _on_ascend(), wish) == "native":
        return
    if native:
        _LOG.info(
            "weightsmith serves %s instead of vLLM's own class: %s",
            ARCHITECTURE,
            f"{CHOICE_VARIABLE}=adapter"
            if wish == "adapter"
            else "this platform's attention would run its prompt causally in some modes",
        )
    _register_config()
    ModelRegistry.register_model(ARCHITECTURE, MODEL)
    _register_settings()


def _is_ours(registry: Any) -> bool:
    entry = getattr(registry, "models", {}).get(ARCHITECTURE)
    return getattr(entry, "module_name", None) == MODEL.partition(":")[0]


def _on_ascend() -> bool:
    """True on vllm-ascend's platform. Naming the platform starts no device."""
    from vllm.platforms import current_platform

    return type(current_platform).__module__.startswith("vllm_ascend")


def _register_config() -> None:
    """Only where transformers has no config of its own: its parsing is the reference where it exists (≥ 5.9)."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if MODEL_TYPE in CONFIG_MAPPING:
        return
    from transformers import AutoConfig

    from weightsmith.vllm_plugin.configuration import HrmTextConfig

    AutoConfig.register(MODEL_TYPE, HrmTextConfig, exist_ok=True)


def _register_settings() -> None:
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    from weightsmith.vllm_plugin.settings import PrefixLMSettings

    MODELS_CONFIG_MAP[ARCHITECTURE] = PrefixLMSettings
