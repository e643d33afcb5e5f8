"""Whether one model makes texts so much less likely than another that its setting is ruled out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    # Text → [temperatures, tokens], log-probabilities in nats, each row at one of TEMPERATURES. A model that is plainly
    # worse may lack the later texts.
    Scores: TypeAlias = Mapping[str, NDArray[np.float32]]

# Nats per token. The best of several near settings is often not the true one, by less than this: on its own, a count
# of standard errors would rule out the truth. At 0.02 two runs of a small model did so (`make bench-unseen`).
FLOOR = 0.03
# Standard errors; the best was chosen among some dozens.
SURE = 4.0
# From so many on more text is worth reading: three times as much makes them 1.7 times as many.
_DOUBTFUL = 1.5
# A text is known to a model that needs this much of the nats of a draw among all tokens; who knows no more than how
# frequent tokens are needs about 0.7. Of an unknown text nothing follows: a model that is not at home in it is as
# likely to gain as to lose by any change.
KNOWN = 0.65
# Tokens of known texts from which on they tell anything: of dozens of short answers some are known by chance.
LEAST = 64
# What the logits are divided by; the first leaves them as they are. A model that has not learned to the end is less
# sure than it might be (small ones trained here gain a tenth of a nat at 0.8), and then a wrong setting that makes it
# surer would look right. So what is ruled out has to be worse at whichever of these is best for it.
TEMPERATURES = (1.0, 0.8, 1.25)
# Tokens whose errors may go together: those of a word, of a sentence, of a passage. The largest error counts.
BLOCKS = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much less likely a text is to one model than to another. nats: per token. z: in standard errors."""

    nats: float
    z: float

    @property
    def rules_out(self) -> bool:
        """Whether it is much, and sure."""
        return self.nats >= FLOOR and self.z >= SURE

    @property
    def in_doubt(self) -> bool:
        """Whether it is much, and more text might make it sure."""
        return self.nats >= FLOOR and _DOUBTFUL <= self.z < SURE


def known_texts(models: Iterable[Scores], vocabulary: int) -> frozenset[str]:
    """The texts that at least one of the models knows; none where they are short. vocabulary: how many tokens exist."""
    most = KNOWN * math.log(vocabulary)
    found = {
        name: scores.shape[1]
        for one in models
        for name, scores in one.items()
        if -float(scores[0].mean()) <= most
    }
    return frozenset(found) if sum(found.values()) >= LEAST else frozenset()


def knows(model: Scores, texts: Collection[str], vocabulary: int) -> bool:
    """Whether a model knows texts on the whole, so that being likelier there makes it the better one.

    Who only is less sure of its nonsense than another is likelier, too.
    """
    return -likelihood(model, texts) <= KNOWN * math.log(vocabulary)


def likelihood(model: Scores, texts: Collection[str]) -> float:
    """Mean over the tokens of some texts, in nats; minus infinity for a model that has not read all of them."""
    if not texts or any(name not in model for name in texts):
        return -math.inf
    return float(np.concatenate([model[name][0] for name in sorted(texts)]).mean(dtype=np.float64))


def compare(best: Scores, other: Scores, texts: Collection[str]) -> Evidence | None:
    """Paired over the tokens that both have read; None where that is less than two passages.

    The other is taken at the temperature that is best for it. The standard error is that of the means of blocks, of the
    size for which it is the largest.
    """
    names = [name for name in sorted(texts) if name in best and name in other]
    if not names:
        return None
    row = int(
        np.argmax(np.concatenate([other[name] for name in names], axis=1).mean(axis=1, dtype=np.float64))
    )
    shared = [(best[name][0] - other[name][row]).astype(np.float64) for name in names]
    return evidence_of(shared)


def evidence_of(differences: Sequence[NDArray[np.float64]]) -> Evidence | None:
    """The mean over the tokens of all texts, and how sure it is; None where that is less than two passages."""
    means = [_means_of_blocks(differences, size) for size in BLOCKS]
    if min(map(len, means)) < 2:
        return None
    error = max(float(np.std(one, ddof=1)) / math.sqrt(len(one)) for one in means)
    nats = float(np.concatenate(differences).mean())
    return Evidence(nats, nats / error if error > 0 else 0.0)


def _means_of_blocks(losses: Iterable[NDArray[np.float64]], size: int) -> list[float]:
    """Each text in blocks of about so many tokens; a text shorter than that is one."""
    cut = (part for one in losses for part in np.array_split(one, max(1, len(one) // size)))
    return [float(part.mean()) for part in cut]


def apart(one: Scores, other: Scores, texts: Collection[str]) -> float:
    """How far two models lie apart on the tokens that both have read, whoever is better: mean of |nats|."""
    shared = [
        np.abs(one[name][0] - other[name][0]) for name in sorted(texts) if name in one and name in other
    ]
    return float(np.concatenate(shared).mean(dtype=np.float64)) if shared else 0.0


def same(one: Scores, other: Scores, texts: Collection[str]) -> bool:
    """Whether a change did nothing: equal but for rounding."""
    shared = [name for name in texts if name in one and name in other]
    return all(np.allclose(one[name], other[name], rtol=0, atol=1e-5) for name in shared)
