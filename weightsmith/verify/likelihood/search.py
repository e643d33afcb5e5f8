"""What to try next of a setting, and what all that was tried says of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from weightsmith.verify.likelihood.judge import FLOOR, apart, compare, known_texts, knows, likelihood, same

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.json_value import Json
    from weightsmith.verify.likelihood.judge import Evidence, Scores
    from weightsmith.verify.likelihood.questions import Question

# A dial is asked twice and half, 2¹² times up and down, and then between what is ruled out and what is not, down to a
# factor of two.
FAR = 12.0
NEAR = 1.0
# Where nothing more is asked than whether anything is better: what is off by a power of ten gains most of it here.
COARSE = 3.0
_WIDE = 3.0
# A count, such as that of a window, goes on being doubled while that helps.
_MOST_COUNTED = 4_096
# The step of what the file says, where the config is mended there and no other step leads to it, such as null.
_ELSEWHERE = -math.inf


@dataclass(frozen=True, slots=True)
class Tried:
    """One value of a setting. at: its step: a power of two of a dial, a difference of a count, a place in a choice."""

    value: Json
    at: float
    scores: Scores


@dataclass(frozen=True, slots=True)
class Search:
    """A setting and the values that were tried, that of the config at step 0 first.

    stated: what the file says, which is that of the config unless it is mended here. vocabulary: the tokens that there
    are. refused: step → the value of which no model was built.
    """

    question: Question
    vocabulary: int
    stated: Json
    tried: tuple[Tried, ...]
    refused: Mapping[float, Json] = field(default_factory=dict)

    def plus(self, value: Json, at: float, scores: Scores | None) -> Search:
        """With one more value. scores: None where no model was built of it."""
        if scores is None:
            return replace(self, refused={**self.refused, at: value})
        return replace(self, tried=(*self.tried, Tried(value, at, scores)))

    @property
    def own(self) -> Scores:
        """Those of the config's value."""
        return self.tried[0].scores

    @property
    def texts(self) -> frozenset[str]:
        """Those that a model of one of the values knows."""
        return known_texts((one.scores for one in self.tried), self.vocabulary)

    @property
    def best(self) -> Tried:
        """The value that makes the texts likeliest; that of the config where none is likelier."""
        texts = self.texts
        return max(self.tried, key=lambda one: likelihood(one.scores, texts))

    @property
    def acts(self) -> bool:
        """Whether any value makes a difference."""
        return any(not same(self.own, one.scores, self.own.keys()) for one in self.tried[1:])

    def ruled_out(self) -> dict[float, Evidence]:
        """Step → how much less likely the texts are there than at the best, where that is much and sure.

        What is ruled out beside the config's value stays so where another is a little better still.
        """
        best, texts = self.best, self.texts
        if not knows(best.scores, texts, self.vocabulary):
            return {}
        found: dict[float, Evidence] = {}
        for beside in (self.tried[0], best):
            judged = ((one.at, compare(beside.scores, one.scores, texts)) for one in self.tried)
            found |= {at: one for at, one in judged if one is not None and one.rules_out}
        return found

    @property
    def in_doubt(self) -> bool:
        """Whether the config's value is much less likely than the best, though not surely."""
        best, texts = self.best, self.texts
        if best.at == 0.0 or not knows(best.scores, texts, self.vocabulary):
            return False
        evidence = compare(best.scores, self.own, texts)
        return evidence is not None and evidence.in_doubt

    def allowed(self) -> list[Tried]:
        """What is not ruled out, likeliest first."""
        out, texts = self.ruled_out(), self.texts
        left = [one for one in self.tried if one.at not in out]
        return sorted(left, key=lambda one: -likelihood(one.scores, texts))

    def next(self) -> tuple[tuple[Json, float], ...]:
        """(value, step) of what is worth trying now; empty where the question is answered, or cannot be."""
        steps = {one.at for one in self.tried} | self.refused.keys()
        values = {json_key(value) for value in (*(one.value for one in self.tried), *self.refused.values())}
        found = ((self._value_at(at), at) for at in self._steps() if at not in steps)
        fresh = {
            json_key(value): (value, at)
            for value, at in found
            if (value is not None or at == _ELSEWHERE) and json_key(value) not in values
        }
        return tuple(fresh.values())

    def _value_at(self, at: float) -> Json:
        """The value at a step; None where there is none."""
        question = self.question
        if at == _ELSEWHERE:
            return self.stated
        if question.kind == "choice":
            return question.options[int(at) - 1]
        assert isinstance(question.value, int | float)
        if question.kind == "count":
            return int(question.value + at) if question.value + at >= 1 else None
        value = question.value * 2.0**at
        return max(1, round(value)) if isinstance(question.value, int) else float(f"{value:.4g}")

    def _steps(self) -> Iterator[float]:
        question = self.question
        if json_key(self.stated) != json_key(question.value):
            yield step_of(question, self.stated)
        if question.kind == "choice":
            yield from range(1, len(question.options) + 1)
        elif question.kind == "count":
            assert isinstance(question.value, int)
            yield from (-1.0, 1.0, -2.0, 2.0, float(-(question.value // 2)), float(question.value))
            top = max(one.at for one in self.tried)
            if self.best.at == top > 0 and question.value + top < _MOST_COUNTED:  # more may be better still
                yield question.value + 2 * top
        elif question.kind == "coarse":
            yield from (COARSE, -COARSE)
        else:
            yield from self._of_dial()

    def _of_dial(self) -> Iterator[float]:
        yield from (NEAR, -NEAR)
        if not self.tried[1:]:  # not yet, or because shapes depend on it
            return
        yield from (FAR, -FAR)
        at_hand = {one.at: one.scores for one in self.tried if one.at != _ELSEWHERE}
        if self.acts and self.texts and {FAR, -FAR} <= at_hand.keys() | self.refused.keys():
            out = self.ruled_out().keys() & at_hand.keys() | self.refused.keys() - {_ELSEWHERE}
            inside = sorted(at_hand.keys() - out)
            yield from _gaps(self.best.at, inside, sorted(out))
            yield from self._slopes({at: at_hand[at] for at in inside})
            if json_key(self.stated) != json_key(self.question.value):
                yield from self._round_numbers()

    def _slopes(self, inside: Mapping[float, Scores]) -> Iterator[float]:
        """The middle of wide gaps whose ends are not alike: something may lie between that is better than both."""
        texts = self.texts
        for lower, upper in pairwise(inside):
            if upper - lower > _WIDE and apart(inside[lower], inside[upper], texts) >= FLOOR:
                yield (lower + upper) / 2

    def _round_numbers(self) -> Iterator[float]:
        """Where the file is wrong: the steps of what people write (1, 2 or 5 times a power of ten) near the best."""
        value, best = self.question.value, self.best.value
        assert isinstance(value, int | float)
        assert isinstance(best, int | float)
        ten = 10.0 ** math.floor(math.log10(best))
        steps = (math.log2(digit * ten / value) for digit in (0.5, 1, 2, 5, 10))
        yield from (at for at in steps if abs(at - math.log2(best / value)) <= NEAR)


def begun(question: Question, vocabulary: int, scores: Scores, stated: Json) -> Search:
    """A search of which nothing is tried yet but what the config has."""
    return Search(question, vocabulary, stated, (Tried(question.value, 0.0, scores),))


def step_of(question: Question, value: Json) -> float:
    """The step at which a value of a setting lies."""
    if question.kind == "choice" or not isinstance(value, int | float) or value <= 0:
        return _ELSEWHERE
    assert isinstance(question.value, int | float)
    return value - question.value if question.kind == "count" else math.log2(value / question.value)


def json_key(value: Json) -> str:
    """Two values of a setting are one where this is the same; a whole number is itself as a float."""
    return repr(float(value)) if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def _gaps(best: float, inside: list[float], out: list[float]) -> Iterator[float]:
    """The middle between what is ruled out on either side of the best and what is not, until they are near."""
    below = max((at for at in out if at < best), default=-math.inf)
    above = min((at for at in out if at > best), default=math.inf)
    lowest = min(at for at in inside if at > below)
    highest = max(at for at in inside if at < above)
    if math.isfinite(below) and lowest - below > NEAR:
        yield (lowest + below) / 2
    if math.isfinite(above) and above - highest > NEAR:
        yield (highest + above) / 2
