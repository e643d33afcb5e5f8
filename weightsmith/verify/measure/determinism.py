"""The same greedy request in other company: does it get the same answer, token for token and bit for bit?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.verify.inputs.tokens import Answer, Run


@dataclass(frozen=True, slots=True)
class Repetition:
    """One pass against the first one.

    same_tokens, same_bits: prompts whose tokens, and whose log-probabilities to the last bit, are equal.
    delta_max: largest |Δ log p| of a chosen token while the tokens still agree. parted: prompt → position
    where they part. lead_max: largest lead over the runner-up at such a place, nats: small means a near tie.
    """

    name: str
    prompts: int
    same_tokens: int
    same_bits: int
    delta_max: float
    parted: dict[int, int]
    lead_max: float

    def document(self) -> dict[str, Any]:
        return asdict(self)


def repetitions(runs: Mapping[str, Run], base: str) -> tuple[Repetition, ...]:
    """Every other pass against the pass `base`, over the prompts that both answered."""
    first = runs[base].answers
    return tuple(compare(name, first, run.answers) for name, run in runs.items() if name != base)


def compare(name: str, first: Mapping[int, Answer], other: Mapping[int, Answer]) -> Repetition:
    """Answers of one pass against those of another."""
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


def _lead(answer: Answer, at: int) -> float:
    return answer.lead[at] if at < len(answer.lead) else 0.0
