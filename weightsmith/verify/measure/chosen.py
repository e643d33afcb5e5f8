"""What two sides say of the tokens that the engine chose: a sample for people to look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from weightsmith.verify.measure import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.inputs.tokens import LogprobFile
    from weightsmith.verify.reference.replay import References

# A plot of more is a cloud, and 2,000 take 30 kB of the document.
MOST_POINTS = 2000


@dataclass(frozen=True, slots=True)
class ChosenTokens:
    """Log-probabilities of chosen tokens in nats, position by position.

    reference: which: "R" in fp32, "B" in bf16. positions: how many there are, of which these are every so many-th.
    """

    reference: Literal["R", "B"]
    positions: int
    of_reference: tuple[float, ...]
    of_device: tuple[float, ...]


def sample(
    run: EngineRun, references: References, positions: Mapping[int, int] | None = None
) -> ChosenTokens | None:
    """The device against fp32, else against bf16; None where there is neither.

    positions: how many of a prompt's positions can be compared; None: all.
    """
    side = references.half if references.full is None else references.full
    if side is None:
        return None
    pairs: list[tuple[float, float]] = []
    for prompt, tokens in run.measured.items():
        count = len(tokens) if positions is None else positions.get(prompt, 0)
        if count:
            ours, theirs = (_of(file, prompt, tokens[:count]) for file in (side, run.logprobs))
            pairs.extend(zip(ours, theirs, strict=True))
    known = [pair for pair in pairs if all(map(math.isfinite, pair))]
    kept = known[:: max(1, -(-len(known) // MOST_POINTS))]
    return ChosenTokens(
        reference="B" if references.full is None else "R",
        positions=len(known),
        of_reference=tuple(round(one, 4) for one, _ in kept),
        of_device=tuple(round(other, 4) for _, other in kept),
    )


def _of(file: LogprobFile, prompt: int, tokens: Sequence[int]) -> list[float]:
    """One of each position; of a partial file that of the column whose id is the token's, which is always there."""
    rows, wanted = file.logprobs(prompt)[: len(tokens)], np.asarray(tokens)
    entries = (file.ids(prompt)[: len(tokens)] == wanted[:, None]).argmax(axis=1) if file.partial else wanted
    return [float(value) for value in metrics.at(rows, entries)]
