"""Whether a head is its embedding's copy although the bytes differ: in another dtype, or quantized by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weightsmith.value_finding import ValueFinding
from weightsmith.values.unseen.sampling import finite
from weightsmith.values.unseen.tokenizer_fit import unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.values.unseen.sampling import Sampler

QUESTION = "tied-head"
# The cosine of a row of the head and the same row of the embedding, median over the rows looked at. Matrices that were
# trained apart measure below 0.7.
SAME = 0.98
_ROWS, _RUNS = 256, 4


def tell_tied(sampler: Sampler, embedding: str, head: str) -> Iterator[ValueFinding]:
    """Whether they hold nearly the same numbers. Both [tokens, width]. Raises what `Sampler.rows` raises."""
    tensors = sampler.view.tensors
    if tensors[embedding].shape != tensors[head].shape:
        return
    one, other = (unit(finite(sampler.spread(name, _ROWS, _RUNS))) for name in (embedding, head))
    cosine = float(np.median((one * other).sum(axis=1)))
    if cosine >= SAME:
        says = f"the head is the embedding's copy: the same rows have a median cosine of {cosine:.4f}"
        yield ValueFinding(QUESTION, "told", True, says, head, cosine, cosine - SAME)
