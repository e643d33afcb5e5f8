"""Answers held against one another by the engine's own distributions: no reference, and any kind of mask."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from weightsmith.verify.inputs.tokens import LogprobFile

# What is as good as impossible: below it the last bits of a float32 softmax decide.
_IMPOSSIBLE = -20.0
# An answer of fewer different tokens has no order to speak of.
_LEAST_DIFFERENT = 3
# So many places behind a token that stands before others, too, say something of a model.
_ENOUGH_PLACES = 16
# A word in an unknown script needs so many letters to count, and an answer so many scripts to be a mixture.
_LEAST_LETTERS, _MIXTURE = 4, 5
# Scripts of one written language, under one name.
_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "HANGUL": "CJK", "BOPOMOFO": "CJK", "FULLWIDTH": "LATIN"}


@dataclass(frozen=True, slots=True)
class Bond:
    """How much answers hang on their own order and on their prompts, nats; medians over the prompts.

    order: by how much a token is likelier at its place than the answer's other tokens there, None where no answer has
    three different tokens. prompt: by how much it is likelier behind its own prompt than behind the most different one.
    context: by how much it is likelier at its place than at another one behind the same token, so that only attention
    to what came before can tell the two apart; None where few places are such.
    """

    answers: int
    order: float | None
    prompt: float | None
    context: float | None


def bond(
    logprobs: LogprobFile, tokens: Mapping[int, Sequence[int]], prompts: Mapping[int, Sequence[int]]
) -> Bond | None:
    """Reads the distributions prompt by prompt. tokens: of each answer. prompts: token ids of those that count.

    None where only the top k are known.
    """
    import numpy as np

    if logprobs.partial:
        return None
    chosen = {n: list(tokens[n]) for n in prompts if tokens.get(n)}
    columns = sorted({token for answer in chosen.values() for token in answer})
    place = {token: at for at, token in enumerate(columns)}
    kept = {n: np.maximum(logprobs.logprobs(n)[: len(chosen[n]), columns], _IMPOSSIBLE) for n in chosen}
    at = {n: [place[token] for token in answer] for n, answer in chosen.items()}
    orders = [_order(kept[n][:, at[n]], chosen[n]) for n in chosen if len(set(chosen[n])) >= _LEAST_DIFFERENT]
    own = [_own_prompt(n, kept, at[n]) for n in chosen] if len(chosen) > 1 else []
    return Bond(
        len(chosen),
        order=float(np.median(orders)) if orders else None,
        prompt=float(np.median(own)) if own else None,
        context=_context(prompts, kept, at),
    )


def _order(rows: NDArray[np.float32], tokens: Sequence[int]) -> float:
    """rows: [places, tokens], row i the distribution at place i, column j the answer's token j."""
    import numpy as np

    ids = np.array(tokens)
    other = ids[:, None] != ids[None, :]
    elsewhere = (rows * other).sum(1) / np.maximum(other.sum(1), 1)
    return float((np.diagonal(rows) - elsewhere).mean())


def _own_prompt(number: int, kept: Mapping[int, NDArray[np.float32]], at: Sequence[int]) -> float:
    """Against the prompt that makes the most of a difference: some prompts of a list may ask nearly the same."""
    steps = range(len(at))
    own = kept[number][steps, at]
    gains = []
    for other, rows in kept.items():
        if other != number:
            shared = min(len(own), len(rows))
            gains.append(float((own[:shared] - rows[steps[:shared], at[:shared]]).mean()))
    return max(gains)


def _context(
    prompts: Mapping[int, Sequence[int]],
    kept: Mapping[int, NDArray[np.float32]],
    at: Mapping[int, Sequence[int]],
) -> float | None:
    """Median over the places whose last token stands before another place as well; None where few places are such.

    prompts: token ids. kept: of each answer, distributions by place. at: the column of the token that was taken there.
    """
    import numpy as np

    behind: dict[int, list[tuple[NDArray[np.float32], int]]] = {}
    for n, rows in kept.items():
        before = [-1 - prompts[n][-1], *at[n]]  # columns count from 0, and what ends a prompt need be none
        for last, row, token in zip(before, rows, at[n], strict=False):
            behind.setdefault(last, []).append((row, token))
    gains: list[float] = []
    for places in behind.values():
        tokens = [token for _, token in places]
        found = np.stack([row[tokens] for row, _ in places])  # [i, j]: token j at place i
        gains += (np.diagonal(found) - found.min(0)).tolist() if len(places) > 1 else []
    return float(np.median(gains)) if len(gains) >= _ENOUGH_PLACES else None


def foreign(text: str, prompts: Iterable[str]) -> bool:
    """Whether a text is written in a script that no prompt has, or in five of them at once.

    Latin letters are nowhere foreign. An answer in another language than its prompt is a matter of training, and none
    of ours.
    """
    known = {"LATIN", *(script for prompt in prompts for script in scripts(prompt))}
    found = scripts(text)
    strange = sum(count for script, count in found.items() if script not in known)
    return len(found) >= _MIXTURE or (strange >= _LEAST_LETTERS and strange * 2 > found.total())


def scripts(text: str) -> Counter[str]:
    """Letters of a text by script, by the first word of their Unicode names."""
    names = (unicodedata.name(char, "").split(" ")[0] for char in text if char.isalpha())
    return Counter(_ONE_SCRIPT.get(name, name) for name in names if name)
