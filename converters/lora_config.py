"""What an adapter's config says of its merge: rank, scaling and variant of each module, and what cannot be merged.

PEFT 0.21: tuners/lora/config.py (the fields), tuners/lora/model.py (`_create_and_replace`: patterns of modules),
tuners/lora/layer.py (`scaling`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import CONFIG_FILE, read_json_object
from weightsmith.checkpoint.names import quoted
from weightsmith.errors import ConversionRefused, InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.json_value import Json

ADAPTER_CONFIG = "adapter_config.json"
WITH_PEFT = "merge it where it was trained (merge_and_unload of PEFT)"
# Settings of other arithmetic than W + s B A, or of other weights than the base's own.
_OTHER = (
    "use_qalora",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
# How the matrices may begin without a change to the base; "pissa", "olora", "corda", "loftq" and "lora_ga" change it.
_BEGINNINGS = (True, False, None, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """r, alpha: of modules that no pattern names. rslora: alpha counts by the root of the rank. dora: weights keep a
    magnitude of their own for each output. turned: weights lie as [in, out] (`fan_in_fan_out`, GPT-2)."""

    path: Path
    r: int
    alpha: float
    rank_pattern: Mapping[str, Json]
    alpha_pattern: Mapping[str, Json]
    rslora: bool
    dora: bool
    turned: bool

    def rank(self, module: str) -> int:
        """The rank that the config states for a module. Raises InvalidConfig."""
        return _whole(self.path, "rank_pattern", _matched(self.rank_pattern, module, self.r))

    def scaling(self, module: str) -> float:
        """What the product of the two matrices is multiplied by. Raises InvalidConfig."""
        alpha = _number(self.path, "alpha_pattern", _matched(self.alpha_pattern, module, self.alpha))
        rank = self.rank(module)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Raises MissingInput or InvalidConfig for a file that is not there or is none; ConversionRefused for what is not
    merged here."""
    path = folder / ADAPTER_CONFIG
    stated = read_json_object(path, CONFIG_FILE)
    kind = stated.get("peft_type")
    if kind != "LORA":
        raise ConversionRefused(path, f"is of an adapter of type {quoted(kind)}, not LORA", WITH_PEFT)
    for key in _OTHER:
        if stated.get(key):
            raise ConversionRefused(path, f"has {key}, which is more than W + s B A", WITH_PEFT)
    begins = stated.get("init_lora_weights")
    if begins not in _BEGINNINGS:
        raise ConversionRefused(
            path, f"has init_lora_weights {quoted(begins)}, which changes the base", WITH_PEFT
        )
    return AdapterConfig(
        path,
        _whole(path, "r", stated.get("r", 8)),
        _number(path, "lora_alpha", stated.get("lora_alpha", 8)),
        _patterns(path, "rank_pattern", stated.get("rank_pattern")),
        _patterns(path, "alpha_pattern", stated.get("alpha_pattern")),
        stated.get("use_rslora") is True,
        stated.get("use_dora") is True,
        stated.get("fan_in_fan_out") is True,
    )


def _matched(patterns: Mapping[str, Json], module: str, default: Json) -> Json:
    """The value of the first pattern that is the module's name or ends it, as PEFT's `get_pattern_key` reads them.

    A pattern is a regular expression there. Here only such as are names, which all that are written by hand are, take
    part in a match of the end; a stranger's regular expression could run for hours.
    """
    for pattern, value in patterns.items():
        plain = pattern.removeprefix("^").replace(r"\.", ".")
        if module == plain or (not pattern.startswith("^") and module.endswith(f".{plain}")):
            return value
    return default


def _patterns(path: Path, key: str, stated: Json) -> Mapping[str, Json]:
    if stated is None:
        return {}
    if not isinstance(stated, dict):
        raise InvalidConfig(path, f"has a {key} that is no object", WITH_PEFT)
    strange = next((p for p in stated if re.search(r"[*+?()|\[\]{}$]", p)), None)
    if strange is not None:
        raise ConversionRefused(path, f"has the regular expression {quoted(strange)} in {key}", WITH_PEFT)
    return stated


def _whole(path: Path, key: str, stated: Json) -> int:
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        raise InvalidConfig(path, f"has {key} {quoted(stated)}, which is no rank", "mend it, or get it again")
    return stated


def _number(path: Path, key: str, stated: Json) -> float:
    if isinstance(stated, bool) or not isinstance(stated, (int, float)) or not math.isfinite(stated):
        raise InvalidConfig(
            path, f"has {key} {quoted(stated)}, which is no number", "mend it, or get it again"
        )
    return float(stated)
