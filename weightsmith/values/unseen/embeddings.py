"""Asks an embedding's rows about the tokenizer beside it: right ids, rows that no token has, tokens never trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weightsmith.value_finding import ValueFinding
from weightsmith.values.blocks import grid
from weightsmith.values.unseen.sampling import finite
from weightsmith.values.unseen.tokenizer_fit import (
    FEWEST_PAIRS,
    MOST_PAIRS,
    shifted_pairs,
    tokenizer_fit,
    unit,
)
from weightsmith.values.unseen.vocabulary import near_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.checkpoint.arrays import Array
    from weightsmith.values.unseen.sampling import Sampler
    from weightsmith.values.unseen.tokenizer_fit import TokenizerFit
    from weightsmith.values.unseen.vocabulary import Vocabulary

QUESTION, UNUSED, SPECIAL = "tokenizer", "unused-rows", "special-tokens"
# Rows from all over the embedding, in runs.
_ROWS, _RUNS = 1024, 16
# A row was never trained where it is so like the other such rows, or so short beside the rest.
_SAME, _SHORT = 0.98, 0.1
_NAMED = 5


def tell_tokenizer(sampler: Sampler, name: str, vocabulary: Vocabulary) -> Iterator[ValueFinding]:
    """Whether the ids are right; which rows no token has; which special tokens were never trained.

    name: of the embedding, [rows, width]. Raises what `Sampler.rows` raises.
    """
    rows = grid(sampler.view.tensors[name])[0]
    others = np.unique(sampler.spread(name, _ROWS, _RUNS).astype(np.float64), axis=0)
    if len(others) < _RUNS or not np.isfinite(others).all():
        return
    shifts = shifted_pairs(near_pairs(vocabulary, MOST_PAIRS), rows)
    if len(shifts[0]) >= FEWEST_PAIRS:
        wanted = sorted({row for pairs in shifts.values() for pair in pairs for row in pair})
        held = dict(zip(wanted, finite(sampler.some(name, wanted)), strict=True))
        sides = {
            shift: (np.stack([held[a] for a, _ in pairs]), np.stack([held[b] for _, b in pairs]))
            for shift, pairs in shifts.items()
        }
        yield _of_fit(name, tokenizer_fit(sides, others))
    if rows > vocabulary.rows:
        yield _of_unused(name, rows, vocabulary)
    yield from _of_special(sampler, name, rows, vocabulary, others)


def _of_fit(name: str, fit: TokenizerFit) -> ValueFinding:
    zero, margin = fit.at_zero, fit.best.errors
    if fit.verdict == "fits":
        says = (
            f"the ids are the embedding's rows: {fit.pairs} pairs such as a word and its plural have a mean cosine of "
            f"{zero.cosine:.2f} beyond that of unrelated words, {margin:.0f} standard errors"
        )
        return ValueFinding(QUESTION, "told", 0, says, name, zero.cosine, margin)
    if fit.verdict == "shifted":
        says = (
            f"the ids are not the embedding's rows: with {fit.shift:+d} added to each, {fit.pairs} pairs such as a "
            f"word and its plural have a mean cosine of {fit.best.cosine:.2f} beyond that of unrelated words, as they "
            f"are {zero.cosine:.2f}"
        )
        return ValueFinding(QUESTION, "contradicted", fit.shift, says, name, fit.best.cosine, margin)
    if fit.verdict == "other":
        says = (
            f"the ids are not the embedding's rows: {fit.pairs} pairs such as a word and its plural have a mean cosine "
            f"of {zero.cosine:.2f} beyond that of unrelated words, though the embedding is trained (its rows have "
            f"neighbours {fit.trained:.1f} times as near as chance)"
        )
        return ValueFinding(QUESTION, "contradicted", None, says, name, zero.cosine, zero.errors)
    says = (
        f"not told: {fit.pairs} pairs such as a word and its plural have a mean cosine of {zero.cosine:.2f} beyond "
        f"that of unrelated words, {zero.errors:.1f} standard errors"
    )
    return ValueFinding(QUESTION, "not told", None, says, name, zero.cosine, zero.errors)


def _of_unused(name: str, rows: int, vocabulary: Vocabulary) -> ValueFinding:
    count = rows - vocabulary.rows
    says = f"{count:,} rows of {rows:,} are beyond the tokenizer's largest id, {vocabulary.rows - 1:,}"
    return ValueFinding(UNUSED, "told", count, says, name, float(count) / rows, None)


def _of_special(
    sampler: Sampler, name: str, rows: int, vocabulary: Vocabulary, others: Array
) -> Iterator[ValueFinding]:
    tokens = [(token, number) for token, number in vocabulary.special.items() if number < rows][:MOST_PAIRS]
    if not tokens:
        return
    found = finite(sampler.some(name, [number for _, number in tokens]))
    untrained = [
        token for (token, _), is_so in zip(tokens, never_trained(found, others), strict=True) if is_so
    ]
    if untrained:
        shown = ", ".join(untrained[:_NAMED])
        more = ", …" if len(untrained) > _NAMED else ""
        says = f"{len(untrained)} special tokens were never trained, or barely: {shown}{more}"
        yield ValueFinding(SPECIAL, "told", list(untrained), says, name, float(len(untrained)), None)


def never_trained(rows: Array, others: Array) -> Sequence[bool]:
    """Of each row, [tokens, width], whether it is far shorter than the others, or the same as another of these rows.

    Rows that are the same in direction, though other tokens' are not, have kept what all untrained ones have in common.
    """
    sizes, usual = np.linalg.norm(rows, axis=1), float(np.median(np.linalg.norm(others, axis=1)))
    centred = unit(rows - others.mean(axis=0))
    cosines = centred @ centred.T
    np.fill_diagonal(cosines, -1.0)
    return [
        bool(size < _SHORT * usual or nearest > _SAME)
        for size, nearest in zip(sizes, cosines.max(axis=1, initial=-1.0), strict=True)
    ]
