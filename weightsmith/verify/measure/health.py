"""Signs of life without a reference: facts known, loops, garbage, flat distributions, all answers alike."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.verify.measure import metrics
from weightsmith.verify.measure.answers import scripts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.verify.inputs.prompts import Prompt
    from weightsmith.verify.inputs.tokens import LogprobFile

# "!!!!" and its kin (vllm-ascend #5144, #6980) have period 1 to 4; a list or a rhyme in a sane answer has a longer one.
_LONGEST_PERIOD = 4
# A tail this long of such a period is no accident: "10,000,000,000," is shorter.
_LOOP_TOKENS = 16
_ENOUGH_FACTS = 8


@dataclass(frozen=True, slots=True)
class Facts:
    """expected: prompts that name a fact. missed: numbers of those whose answer lacks it.

    by_script: of the prompts in each script, how many were answered, and how many there are.
    """

    expected: int
    missed: tuple[int, ...]
    by_script: tuple[tuple[str, int, int], ...] = ()

    @property
    def answered(self) -> int:
        return self.expected - len(self.missed)

    @property
    def best(self) -> tuple[str | None, int, int]:
        """Where most is known: of all prompts (None), or of those in one script, since few models know every language.

        A script counts from eight prompts on: fewer are answered by luck.
        """
        known = [(None, self.answered, self.expected), *(s for s in self.by_script if s[2] >= _ENOUGH_FACTS)]
        return max(known, key=lambda one: one[1] / one[2] if one[2] else 0.0)


@dataclass(frozen=True, slots=True)
class Sanity:
    """Shares of all answers, 0 to 1. alike: of the commonest single answer. empty: without any text."""

    answers: int
    looping: float
    garbage: float
    alike: float
    empty: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The engine's own distributions. flatness: mean entropy / log(vocabulary), 1 for a uniform one.

    top_probability: mean probability of the favourite. nonfinite: NaN or +Inf entries. mass_error: largest
    |log Σ p|, None where only the top k are known (flatness is then a lower bound).
    """

    positions: int
    flatness: float
    top_probability: float
    nonfinite: int
    mass_error: float | None


def facts(prompts: Sequence[Prompt], texts: Mapping[int, str]) -> Facts:
    """Which answers hold what their prompt expects, without regard to case. Only answered prompts count."""
    asked = [(n, p.expect) for n, p in enumerate(prompts) if p.expect is not None and n in texts]
    missed = tuple(n for n, expect in asked if expect.casefold() not in texts[n].casefold())
    of_each = {n: _script(f"{prompts[n].text} {expect}") for n, expect in asked}
    all_of, lost_of = Counter(of_each.values()), Counter(of_each[n] for n in missed)
    by_script = tuple((script, many - lost_of[script], many) for script, many in all_of.items())
    return Facts(len(asked), missed, by_script)


def _script(text: str) -> str:
    """The script that knowledge of a text takes: whoever reads another one reads Latin letters and digits, too."""
    others = [one for one in scripts(text).most_common() if one[0] != "LATIN"]
    return others[0][0] if others else "LATIN"


def sanity(texts: Mapping[int, str], tokens: Mapping[int, tuple[int, ...]]) -> Sanity:
    """Completions judged as strings and as token lists."""
    total = len(texts)
    commonest = Counter(texts.values()).most_common(1)[0][1]
    return Sanity(
        answers=total,
        looping=sum(loops(answer) for answer in tokens.values()) / total,
        garbage=sum(is_garbage(text) for text in texts.values()) / total,
        alike=commonest / total,
        empty=sum(not text.strip() for text in texts.values()) / total,
    )


def loops(tokens: Sequence[int]) -> bool:
    """Whether an answer ends in 16 tokens or more of one repeated group of at most four."""
    return any(
        len(tokens) >= _LOOP_TOKENS
        and all(
            tokens[n] == tokens[n - period] for n in range(len(tokens) - _LOOP_TOKENS + period, len(tokens))
        )
        for period in range(1, _LONGEST_PERIOD + 1)
    )


def is_garbage(text: str) -> bool:
    """Whether over a fifth of a text is replacement, control, private or unassigned characters.

    The last character may be half a multi-byte one where the answer was cut, and does not count.
    """
    body = text.rstrip("\ufffd")
    odd = sum(
        char == "\ufffd" or (unicodedata.category(char) in {"Cc", "Co", "Cn"} and not char.isspace())
        for char in body
    )
    return odd * 5 > len(body) > 0 or (not body and len(text) > 3)


def spread(logprobs: LogprobFile, prompts: Sequence[int]) -> Spread:
    """Reads the engine's log-probabilities prompt by prompt. NaN in a row keeps it out of the means."""
    import numpy as np

    entropies, favourites, errors = [], [], []
    nonfinite = 0
    for prompt in prompts:
        rows = logprobs.logprobs(prompt)
        bad = np.isnan(rows) | np.isposinf(rows)
        nonfinite += int(bad.sum())
        sound = rows[~bad.any(axis=1)]
        if not len(sound):
            continue
        if not logprobs.partial:
            errors.append(float(np.abs(metrics.log_mass(sound)).max()))
        entropies.append(metrics.entropy(metrics.with_rest(sound) if logprobs.partial else sound))
        favourites.append(np.exp(sound.max(axis=1)))
    if not entropies:
        return Spread(0, 1.0, 0.0, nonfinite, None)
    entropy, favourite = np.concatenate(entropies), np.concatenate(favourites)
    return Spread(
        positions=len(entropy),
        flatness=float(entropy.mean() / np.log(logprobs.vocabulary)),
        top_probability=float(favourite.mean()),
        nonfinite=nonfinite,
        mass_error=max(errors) if errors else None,
    )
