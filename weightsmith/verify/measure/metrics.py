"""How far two distributions are apart, position by position: pure functions of log-probability arrays.

Every array of log-probabilities is [positions, entries], natural logs, rows normalised. An entry is a token of the
vocabulary, or one of a few tokens and a last bucket with all the rest (`bucket`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Logprobs = NDArray[np.floating]
    Indices = NDArray[np.integer]
    Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """P (the reference) against Q at every position, each field [positions].

    kl: KL(P‖Q), nats. delta: log q − log p of the chosen token. delta_p: the same of probabilities.
    chosen_p, chosen_q: log-probability of the chosen token. top_p, top_q: the entry that each prefers.
    margin: how much P prefers its own favourite over Q's, nats, 0 where they agree. top5, top10: share of P's
    favourites that Q has too. pearson, cosine: over the entries.
    """

    kl: Series
    delta: Series
    delta_p: Series
    chosen_p: Series
    chosen_q: Series
    top_p: Indices
    top_q: Indices
    margin: Series
    top5: Series
    top10: Series
    pearson: Series
    cosine: Series


def compare(p: Logprobs, q: Logprobs, chosen: Indices) -> Comparison:
    """All measures of one pair. p, q: [positions, entries]; chosen: [positions] entry indices."""
    own_p, own_q = at(p, chosen), at(q, chosen)
    favourite_p, favourite_q = p.argmax(axis=1), q.argmax(axis=1)
    ten_p, ten_q = favourites(p, 10), favourites(q, 10)
    return Comparison(
        kl=kl(p, q),
        delta=own_q - own_p,
        delta_p=np.exp(own_q) - np.exp(own_p),
        chosen_p=own_p,
        chosen_q=own_q,
        top_p=favourite_p,
        top_q=favourite_q,
        margin=at(p, favourite_p) - at(p, favourite_q),
        top5=_shared(ten_p[:, :5], ten_q[:, :5]),
        top10=_shared(ten_p, ten_q),
        pearson=pearson(p, q),
        cosine=cosine(p, q),
    )


def join(parts: Sequence[Comparison]) -> Comparison:
    """The positions of several comparisons as one."""
    return Comparison(
        **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Comparison)}
    )


def rms(values: Series) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))


def at(logprobs: Logprobs, entries: Indices) -> Series:
    """One entry per position, [positions]."""
    taken = np.take_along_axis(logprobs, entries[:, None], axis=1)[:, 0]
    return cast("Series", taken.astype(np.float64))


def kl(p: Logprobs, q: Logprobs) -> Series:
    """KL(P‖Q) = Σ p·(log p − log q) per position, in nats, [positions]; an entry with p = 0 adds nothing.

    Rows are normalised on the way: float32 rows sum to 1 ± 1e-6, which made KLs of −1e-7 between kernels that
    differ by no more (measured on tests/models/hrm-text). Terms keep their dtype, sums are float64.
    """
    weights = np.exp(p)
    with np.errstate(invalid="ignore"):
        terms = weights * (p - q)
        terms[np.isneginf(p)] = 0.0
        unscaled = _sum(terms) / _sum(weights) - (np.log(_sum(weights)) - np.log(_sum(np.exp(q))))
    return cast("Series", np.maximum(unscaled, 0.0))


def entropy(p: Logprobs) -> Series:
    """−Σ p·log p per position, in nats, [positions]; at most log(entries)."""
    with np.errstate(invalid="ignore"):
        terms = np.exp(p) * p
    terms[np.isneginf(p)] = 0.0
    return -_sum(terms)


def log_mass(p: Logprobs) -> Series:
    """log Σ p per position, [positions]: 0 where a row is normalised."""
    return np.log(_sum(np.exp(p)))


def _sum(rows: Logprobs) -> Series:
    return cast("Series", rows.sum(axis=1, dtype=np.float64))


def overlap(p: Logprobs, q: Logprobs, k: int) -> Series:
    """|top-k(P) ∩ top-k(Q)| / k per position, [positions]; k is cut to the number of entries."""
    return _shared(favourites(p, k), favourites(q, k))


def is_near_tie(lead: float, limit: float) -> bool:
    """Whether a token leads another by so little that rounding may exchange them.

    lead: difference of their log-probabilities, nats; NaN is no tie.
    """
    return lead <= limit


def favourites(p: Logprobs, k: int) -> Indices:
    """The k likeliest entries per position, best first, [positions, k]; k is cut to the number of entries.

    Of equals the one with the lower index comes first, as `argmax` has it; which of them are in is open at the cut.
    """
    k = min(k, p.shape[1])
    best = np.sort(np.argpartition(p, -k, axis=1)[:, -k:], axis=1)
    order = np.argsort(-np.take_along_axis(p, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def _shared(one: Indices, other: Indices) -> Series:
    return cast("Series", (one[:, :, None] == other[:, None, :]).any(axis=2).mean(axis=1))


def pearson(p: Logprobs, q: Logprobs) -> Series:
    """Pearson correlation over the entries per position, [positions].

    Log-softmax shifts every logit of a position alike and correlation does not see shifts, so this equals
    the correlation of the logits. Two constant rows count as 1, one constant row as 0.
    """
    return cosine(_centred(p), _centred(q))


def cosine(p: Logprobs, q: Logprobs) -> Series:
    """Cosine of the rows per position, [positions]; of log-probabilities it is not that of the logits."""
    lengths = np.sqrt(_sum(p * p)), np.sqrt(_sum(q * q))
    product = lengths[0] * lengths[1]
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    return np.where(both_zero, 1.0, _sum(p * q) / np.where(product == 0, 1.0, product))


def _centred(rows: Logprobs) -> Logprobs:
    mean = rows.mean(axis=1, dtype=np.float64, keepdims=True).astype(rows.dtype)
    return cast("Logprobs", rows - mean)


def perplexity(chosen: Series) -> float:
    """exp(−mean log p) of the tokens that were chosen."""
    return float(np.exp(-chosen.mean()))


def bucket(logprobs: Logprobs, ids: Indices) -> Logprobs:
    """[positions, vocabulary] → [positions, k + 1]: the entries `ids` [positions, k], then log of all other mass.

    Merging entries never raises a KL divergence (data processing inequality), so one of buckets is a lower bound.
    """
    kept = np.take_along_axis(logprobs, ids, axis=1).astype(np.float64)
    others = logprobs.astype(np.float64)
    np.put_along_axis(others, ids, -np.inf, axis=1)
    # Summed and not what is left of 1: a rest of 1e-7 is lost in the rounding of float32 favourites.
    rest = np.maximum(_sum(np.exp(others)), np.finfo(np.float64).tiny)
    return np.concatenate([kept, np.log(rest)[:, None]], axis=1)


def with_rest(top: Logprobs) -> Logprobs:
    """[positions, k] top-k log-probabilities → [positions, k + 1] with the log of the mass that is not among them."""
    shown = np.exp(top.astype(np.float64)).sum(axis=1, keepdims=True)
    # Rounded to float32, k tokens may sum to just above 1; what is left is then below float32's last bit.
    rest = np.log(np.maximum(1.0 - shown, np.finfo(np.float32).eps / 2))
    return np.concatenate([top.astype(np.float64), rest], axis=1)
