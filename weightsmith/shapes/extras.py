"""Tensors that ride along with a model without being part of it: draft layers for multi-token prediction.

DeepSeek-V3 and its kin store them as one more decoder layer (index `num_hidden_layers`) that has `eh_proj` and
`enorm` beside the usual tensors; Qwen3-Next and others under a prefix of their own. The model classes skip them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Tensor

_MARK = re.compile(r"(.*\blayers\.)([0-9]+)\.(?:eh_proj|enorm|hnorm|shared_head)\b")
_PREFIX = re.compile(r"(?:model\.)?mtp(?:_layers|_block|_predictors)?\.")


@dataclass(frozen=True, slots=True)
class Extras:
    """tensors: the table without them. names: what was set aside. layers: how many draft layers there are."""

    tensors: Mapping[str, Tensor]
    names: tuple[str, ...]
    layers: int


def set_aside(tensors: Mapping[str, Tensor]) -> Extras:
    """Separates draft layers from the model; a table without any comes back as it is."""
    marked = {found[1] + found[2] + "." for name in tensors if (found := _MARK.match(name))}
    if not marked and not any(_PREFIX.match(name) for name in tensors):
        return Extras(tensors, (), 0)
    stems = tuple(marked)
    aside = tuple(n for n in tensors if _PREFIX.match(n) or (stems and n.startswith(stems)))
    gone = set(aside)
    return Extras({n: t for n, t in tensors.items() if n not in gone}, aside, len(marked))
