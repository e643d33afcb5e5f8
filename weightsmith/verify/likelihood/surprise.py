"""How much surer a model is than it is right: what tells wrong ids where nothing that could be right is known.

A model that is as sure as it is right loses on a text what it expects to lose: its loss is its entropy. A model that is
fed wrong ids is sure of the wrong thing. Their difference needs no entropy. At the inverse temperature b a token whose
logit is l has the log-probability b l - F(b), where F(b) = ln sum exp(b logits), and F'(1) is the mean logit that the
model expects. So d/db at b = 1 is l - F'(1) = ln p + entropy: the surprise is how much likelier the text becomes as the
model is made less sure. The temperatures at which texts are read anyway tell that slope.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.verify.likelihood.judge import LEAST, SURE, TEMPERATURES, evidence_of, known_texts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from weightsmith.verify.likelihood.judge import Evidence, Scores
    from weightsmith.verify.likelihood.tokenized import Reading

# Nats per token. No English or Python text surprises a sound model that was trained here by more than 0.4, or by 0.6
# where it was trained on another language, nor SmolLM2 by 0.1. With ids shifted, permuted or of another vocabulary the
# least is 1.2, and 1.05 in models on which this was not set (`make bench-unseen`).
SURPRISED = 1.0
# Bytes per token that a tokenizer makes of a text of its own languages; of any other it keeps little but single bytes,
# and there a model may be as sure of wrong ids as of right ones: they are all alike.
_AT_HOME = 2.0
# The share of a text that one token may be; that of the unknown is more where it stands for whole words.
_COMMONEST = 0.25


def surprise(model: Scores, texts: Collection[str]) -> Evidence | None:
    """Loss less entropy over the tokens of some texts; None where that is less than two passages.

    The slope is that of the parabola through three temperatures. On SmolLM2 it is at most 0.17 nats less than what the
    entropy says, with wrong ids 0.11.
    """
    return evidence_of([_slopes(model[name]) for name in sorted(texts) if name in model])


def _slopes(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each token, [tokens]. scores: log-probabilities at each of TEMPERATURES."""
    cold = 1 / np.array(TEMPERATURES)
    order = np.argsort(cold)
    slopes = np.gradient(scores[order].astype(np.float64), cold[order], axis=0)
    found: NDArray[np.float64] = -slopes[list(order).index(0)]
    return found


def at_home(texts: Mapping[str, Reading]) -> frozenset[str]:
    """The texts whose language a tokenizer has words of."""
    return frozenset(
        name
        for name, one in texts.items()
        if one.asked >= LEAST
        and one.size >= _AT_HOME * len(one.ids)
        and max(Counter(one.ids).values()) <= _COMMONEST * len(one.ids)
    )


def surprised(model: Scores, texts: Mapping[str, Reading], vocabulary: int) -> Evidence | None:
    """By how much a model is surer than right, where that is so of every text that its tokenizer is at home in.

    None where it is not: one such text that it is as sure as right of is enough, or one text that it knows. A sound
    model is surprised by what it was not trained on, though not by everything.
    """
    home = at_home(texts)
    if known_texts([model], vocabulary) or not home:
        return None
    each = [surprise(model, [name]) for name in home]
    if any(one is None or one.nats < SURPRISED for one in each):
        return None
    found = surprise(model, home)
    return found if found is not None and found.z >= SURE else None
