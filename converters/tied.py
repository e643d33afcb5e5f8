"""The second copy of a tied embedding, which Hugging Face checkpoints leave out; only when it really is a copy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint.data import TensorReader
from weightsmith.values.blocks import BlockReader, grid, rows_per_block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.convert.protocol import SourceEvidence

_HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|shared)\.weight$")


def tied_duplicate(evidence: SourceEvidence) -> dict[str, str]:
    """{head: why} when the config says that the head is tied and it equals the one embedding bit for bit.

    A loader of a tied model makes the head from the embedding (transformers, `_tied_weights_keys`). Without
    `tie_word_embeddings: true` in the config nothing may be left out: a loader would then make up a head.
    """
    tensors = evidence.checkpoint.tensors
    heads = [name for name in tensors if _HEAD.search(name)]
    embeddings = [name for name in tensors if _EMBEDDING.search(name)]
    if not _says_tied(evidence.config) or len(heads) != 1 or len(embeddings) != 1:
        return {}
    head, embedding = tensors[heads[0]], tensors[embeddings[0]]
    if not _equal(evidence.checkpoint, head, embedding):
        return {}
    return {head.name: f"tied to {embedding.name} by the config, and equal to it"}


def _says_tied(config: Mapping[str, object] | None) -> bool:
    if config is None:
        return False
    text = config.get("text_config")
    nested = text.get("tie_word_embeddings") if isinstance(text, dict) else None
    return config.get("tie_word_embeddings", nested) is True


def _equal(checkpoint: Checkpoint, a: Tensor, b: Tensor) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    in_one_place = (a.storage, a.offset, a.strides) == (b.storage, b.offset, b.strides)
    if in_one_place and not (a.pieces or b.pieces):
        return True
    rows, step = grid(a)[0], rows_per_block(a)
    with TensorReader(checkpoint) as reader:
        left, right = BlockReader(reader), BlockReader(reader)
        return all(
            np.array_equal(
                left.block(a, start, min(start + step, rows)), right.block(b, start, min(start + step, rows))
            )
            for start in range(0, rows, step)
        )
