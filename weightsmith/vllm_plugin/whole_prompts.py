"""Which sequences of a batch are whole prompts: the only ones whose rows may attend in both directions."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - plain lists at run time
from dataclasses import dataclass


class PartialPrompt(RuntimeError):
    """A prompt arrived in part: by chunked prefill, a cache hit, or draft tokens. Its answer would be wrong."""


@dataclass(frozen=True, slots=True)
class Span:
    """Rows [start, stop) of the batch's tokens hold one whole prompt."""

    start: int
    stop: int


def whole_prompts(query_ends: Sequence[int], sequence_lengths: Sequence[int]) -> tuple[Span, ...]:
    """Whole prompts of more than one token, in order.

    query_ends: cumulative query lengths, one per sequence, without the leading 0. sequence_lengths: keys that each
    sequence has, this step's included. A sequence of one new token needs no mask either way: it sees all its keys.
    Raises PartialPrompt for anything between one token and the whole.
    """
    spans = []
    start = 0
    for number, (stop, length) in enumerate(zip(query_ends, sequence_lengths, strict=False)):
        new = stop - start
        if new > 1 and new != length:
            raise PartialPrompt(
                f"sequence {number} of the batch brings {new} of {length} tokens: HRM-Text needs its whole prompt at "
                "once (chunked prefill, prefix caching, speculative decoding and preemption must be off)"
            )
        if new > 1:
            spans.append(Span(start, stop))
        start = stop
    return tuple(spans)
