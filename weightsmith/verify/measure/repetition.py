"""The same greedy request in another batch: is its completion the same, token for token and bit for bit?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.verify.inputs.tokens import Completion, PassResult


@dataclass(frozen=True, slots=True)
class Repetition:
    """One pass against the first one.

    prompts: how many both completed.
    same_tokens, same_bits: prompts whose tokens, and whose log-probabilities to the last bit, are equal.
    delta_max: largest |Δ log p| of a chosen token while the tokens still agree.
    parted: prompt → position where they part.
    lead_max: largest lead over the runner-up at such a place, nats: small means a near tie.
    """

    name: str
    prompts: int
    same_tokens: int
    same_bits: int
    delta_max: float
    parted: Mapping[int, int]
    lead_max: float


def repetitions(passes: Mapping[str, PassResult], base: str) -> tuple[Repetition, ...]:
    """Every other pass against the pass `base`, over the prompts that both completed."""
    first = passes[base].completions
    return tuple(compare(name, first, one.completions) for name, one in passes.items() if name != base)


def compare(name: str, first: Mapping[int, Completion], other: Mapping[int, Completion]) -> Repetition:
    """Completions of one pass against those of another."""
    shared = [n for n in other if n in first]
    parted = {n: at for n in shared if (at := parting(first[n].tokens, other[n].tokens)) is not None}
    deltas = [
        abs(a - b)
        for n in shared
        for a, b in zip(
            first[n].logprobs[: parted.get(n)], other[n].logprobs[: parted.get(n)], strict=n not in parted
        )
    ]
    leads = [max(_lead(first[n], at), _lead(other[n], at)) for n, at in parted.items()]
    return Repetition(
        name=name,
        prompts=len(shared),
        same_tokens=len(shared) - len(parted),
        same_bits=sum(n not in parted and first[n].logprobs == other[n].logprobs for n in shared),
        delta_max=max(deltas, default=0.0),
        parted=parted,
        lead_max=max(leads, default=0.0),
    )


def parting(one: tuple[int, ...], other: tuple[int, ...]) -> int | None:
    """First position where two token lists differ, a list that ends early included; None when they are equal."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return None if len(one) == len(other) else min(len(one), len(other))


def _lead(completion: Completion, at: int) -> float:
    return completion.lead[at] if at < len(completion.lead) else 0.0
