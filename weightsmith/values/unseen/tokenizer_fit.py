"""Whether a tokenizer's ids are the rows that an embedding was trained by, without running the model.

Training brings the rows of a word and of the same word with a leading space near each other: over 64 such pairs of
SmolLM2-135M the mean cosine is 0.63, with all ids off by one 0.01; in all-MiniLM-L6-v2 0.70 and 0.01 (words and their
plurals). Rows are centred first, and what pairs of unrelated words have is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.checkpoint.arrays import Array

Fit = Literal["fits", "shifted", "other", "not told"]

# So many pairs are looked at, and as few are enough.
MOST_PAIRS, FEWEST_PAIRS = 128, 20
# Ids that are off by more are no slip of an added token or two.
FARTHEST = 4
# The cosine of pairs beyond that of unrelated words, and how many standard errors that is.
LEAST_COSINE, LEAST_ERRORS = 0.08, 5.0
# What a fit may at most have where the ids are called wrong.
MOST_COSINE, MOST_ERRORS = 0.04, 3.0
# Pairs that must speak where no shift fits; and how alike unrelated words may be then: what was never trained is alike.
PAIRS_TO_REFUTE, MOST_ALIKE = 64, 0.2
# An embedding is trained where its rows have near neighbours: the cosine to the nearest of the others, 9th decile, over
# what normal numbers would have. Untrained ones measure 0.9 to 1.0, trained ones 2.4 to 3.4. Rows from all over must be
# so, and those that are judged: a model may have been trained on other tokens than English words.
LEAST_TRAINED = 1.8


@dataclass(frozen=True, slots=True)
class PairScore:
    """cosine: mean of the pairs, beyond that of unrelated ones (`alike`). errors: the same in standard errors."""

    cosine: float
    alike: float
    errors: float


@dataclass(frozen=True, slots=True)
class TokenizerFit:
    """verdict: "shifted" where ids + shift are the right rows; "other" where no shift fits a trained embedding.

    best: the score of the shift; at 0 unless it is shifted. pairs: how many. trained: see LEAST_TRAINED.
    """

    verdict: Fit
    shift: int
    best: PairScore
    at_zero: PairScore
    pairs: int
    trained: float


def tokenizer_fit(sides: Mapping[int, tuple[Array, Array]], others: Array) -> TokenizerFit:
    """Judges by rows of an embedding.

    sides: shift → the rows of the first and of the second token of each pair, [pairs, width] each; 0 is among them.
    others: rows from all over the embedding, [rows, width]: by their mean the rows are centred.
    """
    centre = others.mean(axis=0)
    scores = {shift: pair_score(one - centre, two - centre) for shift, (one, two) in sides.items()}
    at_zero, pairs = scores[0], len(sides[0][0])
    judged = np.unique(np.concatenate(sides[0]), axis=0)
    trained = min(trainedness(others - centre), trainedness(judged - centre))
    best = max(scores, key=lambda shift: scores[shift].errors)
    verdict: Fit = "not told"
    if _speaks(at_zero):
        verdict, best = "fits", 0
    elif at_zero.errors < MOST_ERRORS and at_zero.cosine < MOST_COSINE:
        if best != 0 and _speaks(scores[best]):
            verdict = "shifted"
        elif pairs >= PAIRS_TO_REFUTE and trained >= LEAST_TRAINED and at_zero.alike < MOST_ALIKE:
            verdict, best = "other", 0
    shift = best if verdict == "shifted" else 0
    return TokenizerFit(verdict, shift, scores[shift], at_zero, pairs, trained)


def _speaks(score: PairScore) -> bool:
    return score.cosine >= LEAST_COSINE and score.errors >= LEAST_ERRORS


def pair_score(one: Array, two: Array) -> PairScore:
    """Of rows that belong together, [pairs, width] each, against every other pairing of the same rows."""
    cosines = unit(one) @ unit(two).T
    together, count = np.diag(cosines), len(cosines)
    apart = cosines[~np.eye(count, dtype=bool)]
    alike = float(apart.mean())
    error = float(np.sqrt((together.var(ddof=1) + apart.var(ddof=1)) / count))
    beyond = float(together.mean()) - alike
    return PairScore(beyond, alike, beyond / max(error, 1e-9))


def unit(rows: Array) -> Array:
    """Rows of length 1; those of 0 stay."""
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Array = rows / np.maximum(sizes, 1e-12)
    return found


def trainedness(rows: Array) -> float:
    """How near the nearest neighbours are: the 9th decile of their cosines, over sqrt(2 ln rows / width).

    That is what the largest of so many cosines of independent normal rows is near to. rows: [rows, width], centred.
    """
    cosines = unit(rows) @ unit(rows).T
    np.fill_diagonal(cosines, -1.0)
    expected = float(np.sqrt(2 * np.log(len(rows)) / rows.shape[1]))
    return float(np.quantile(cosines.max(axis=1), 0.9)) / expected


def shifted_pairs(
    pairs: Sequence[tuple[int, int]], rows: int, farthest: int = FARTHEST
) -> dict[int, list[tuple[int, int]]]:
    """shift → the pairs with so much added to both ids; those that leave 0 … rows - 1 at any shift are left out."""
    inside = [pair for pair in pairs if min(pair) >= farthest and max(pair) + farthest < rows]
    return {s: [(a + s, b + s) for a, b in inside] for s in range(-farthest, farthest + 1)}
