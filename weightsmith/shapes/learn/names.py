"""What the learner knows of the names that people give to fields: all of it stands here.

It says what is tried first, and what is worth trying at all; what is tried is built, and no name is believed. Four
things are decided by names alone: what is no setting of tensors (`is_field`), which quotients in a model's source are
heads that share one of keys (`GROUPS`), which words a slot is called by, and in which order a page lists its fields.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a config says about itself, its tokens, its outputs and its history: no tensor depends on it.
_ASIDE = re.compile(
    r"(^|\.)(architectures|model_type|transformers_version|dtype|torch_dtype|id2label|label2id|problem_type|is_encoder_decoder"
    r"|_name_or_path|name_or_path|return_dict|output_(attentions|hidden_states|router_logits|scores)|use_cache|quantization_config|auto_map|num_labels"
    r"|\w*token_ids?|\w*token_index|chunk_size_feed_forward|attn_implementation|_attn_implementation"
    r"|\w*dropout\w*|initializer_range|\w*_eps|\w*epsilon|task_specific_params|per_layer_config)$"
)
# Counts that a small base has fewer of, experts first.
COUNTS = (re.compile(r"expert"), re.compile(r"(layer|block|depth|stage)s?(_|$)"))
LAYERS = COUNTS[1]
_NO_COUNT = re.compile(r"tok|top|group|size|dim|freq|step|period|offset")
# The count of a stack of layers.
STACK = re.compile(r"(^|\.)(num_hidden_layers|n_layers?|num_layers|depth)$")
# Numbers of heads, which divide a width, and numbers of groups of them, which divide the heads.
HEADS = re.compile(r"heads?$")
ATTENTION_HEADS = re.compile(r"attention_heads")
GROUPS = re.compile(r"key_value|kv")
WIDTH = re.compile(r"(hidden_size|d_model|n_embd|embed_dim)$")
BODY_WIDTH = re.compile(r"hidden_size|d_model|n_embd")
HEAD_WIDTH = "head_dim"
# The width that the head of a task is most often as wide as.
TASK_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
# Sizes, which take part in rules about products before other numbers.
SIZE = re.compile(r"size|head|dim|expand|group|model|embd")
# Sizes in the order in which people look for them in an equation.
ORDER = (
    "vocab_size", "hidden_size", "n_embd", "d_model", "dim", "num_hidden_layers", "n_layer", "n_layers", "num_layers",
    "num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads", "num_kv_heads", "head_dim",
    "intermediate_size", "ffn_dim", "n_inner",
)  # fmt: skip
# In a report the vocabulary comes last.
REPORT = (*ORDER[1:], "vocab_size")
_SLOTS = {"h": "layer", "blocks": "block", "layers": "layer", "layer": "layer", "experts": "expert"}


def is_field(name: str) -> bool:
    """Whether tensors may depend on it."""
    return not _ASIDE.search(name)


def section_of(name: str) -> str:
    """The inner config that a field stands in, "" for the outer one."""
    return name.rpartition(".")[0]


def last_of(name: str) -> str:
    """A field's name in its own config."""
    return name.rpartition(".")[2]


def are_beside(a: str, b: str) -> bool:
    """Whether two fields stand in the same config."""
    return section_of(a) == section_of(b)


def is_count(name: str, hint: re.Pattern[str]) -> bool:
    """Whether a field counts what the hint names, and is no size or period of it."""
    return bool(hint.search(last_of(name))) and not _NO_COUNT.search(last_of(name))


def plausibility(rule: str) -> int:
    """How likely a rule is beside others that explain the same refusals: heads that divide a size come first."""
    if "head" in rule.partition(" % ")[2]:
        return 3
    return 1 if "*" in rule else 2


def slot_word(words: Sequence[str]) -> str:
    """What an index is called, from the words that stand before it in a tensor's name: `layers` → layer."""
    last = words[-1].strip("_") if words else "index"
    name = _SLOTS.get(last, last[:-1] if last.endswith("s") and len(last) > 3 else last)
    return re.sub(r"\W", "", name) or "index"
