"""Tensors that ride along with a model without being part of it: draft layers, and buffers that loaders make anew.

DeepSeek-V3 and models built after it store layers for multi-token prediction as one more decoder layer (index
`num_hidden_layers`) that has `eh_proj` and `enorm` beside the usual tensors; Qwen3-Next and others under a prefix of
their own. Older versions of transformers saved masks, positions and rotary frequencies. ModelSlim saves the rotation
that it multiplied the weights by, for the draft (`rot.weight`; vllm-ascend's GlmMoeDsaForCausalLM names it among what
it skips). The model classes skip all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.json_value import Json, JsonObject

_MARK = re.compile(r"(.*\blayers\.)([0-9]+)\.(?:eh_proj|enorm|hnorm|shared_head)\b")
_BUFFER = re.compile(
    r"^rot\.weight$|(?:^|\.)(?:rotary_emb\.inv_freq|attn\.causal_mask|embeddings\.position_ids"
    r"|(?:attn|attention|attn\.attention)\.(?:bias|masked_bias))$"
)
_PREFIX = re.compile(r"(?:(?:language_)?model\.)*mtp(?:_[a-z_]+)?\.(?:layers\.)?([0-9]+\.)?")
# Where configs count them: the last word of the setting, which may stand in the text part of a larger config.
COUNTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers")
# One draft layer of a hybrid model is stored as several: one for each letter of this.
_PATTERN = "mtp_hybrid_override_pattern"


@dataclass(frozen=True, slots=True)
class Extras:
    """tensors: the table without them. names: what was set aside. layers: how many draft layers there are.

    Buffers are not among the names.
    """

    tensors: Mapping[str, Tensor]
    names: tuple[str, ...]
    layers: int


def is_buffer(name: str) -> bool:
    """Whether loaders take no notice of a tensor (or digit-free name) that a page does not explain."""
    return _BUFFER.search(name) is not None


def set_aside(tensors: Mapping[str, Tensor]) -> Extras:
    """Separates draft layers from the model; a table without any comes back as it is."""
    marked = {found[1] + found[2] + "." for name in tensors if (found := _MARK.match(name))}
    under = {found[1] for name in tensors if (found := _PREFIX.match(name))}
    if not marked and not under:
        return Extras(tensors, (), 0)
    stems = tuple(marked)
    aside = tuple(n for n in tensors if _PREFIX.match(n) or (stems and n.startswith(stems)))
    gone = set(aside)
    # What stands under the prefix without an index joins the layers, or is the one layer that there is.
    layers = len(marked) + (len(under - {None}) or bool(under))
    return Extras({n: t for n, t in tensors.items() if n not in gone}, aside, layers)


def stated_counts(config: JsonObject) -> dict[str, Json]:
    """Dotted setting → what the config states, for each setting that counts draft layers."""
    places = {"": config, **{f"{name}.": part for name, part in config.items() if isinstance(part, dict)}}
    return {place + name: part[name] for place, part in places.items() for name in COUNTS if name in part}


def stored_layers(config: JsonObject, extras: Extras) -> int:
    """How many draft layers are stored, as this config counts them."""
    pattern = config.get(_PATTERN)
    each = len(pattern) if isinstance(pattern, str) and pattern else 1
    return -(-extras.layers // each)
