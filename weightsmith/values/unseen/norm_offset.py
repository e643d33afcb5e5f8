"""Whether gains of norms are stored as they are, or less one, as Gemma has them.

A gain that is stored as it is begins at 1 and is not drawn through 0: a channel that a norm turns off is lost. One that
is stored less one begins at 0 and goes to both sides. So negative numbers in most norms tell the second; the first is
told by nothing, for a gain above 1 is positive both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weightsmith.value_finding import ValueFinding
from weightsmith.values.unseen.sampling import evenly

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.checkpoint.arrays import Array
    from weightsmith.values.unseen.sampling import Sampler

QUESTION = "norm-offset"
# A gain counts as negative below this; -0.0001 is a channel that died. So large a share of a norm's gains must be, in
# so large a share of the norms.
NEGATIVE, LEAST_SHARE, LEAST_NORMS = -0.005, 0.05, 0.6
_MOST, _FEWEST = 24, 3


def less_one(gains: Sequence[Array]) -> tuple[bool, float]:
    """Whether gains are stored less one, and the share of norms that say so. gains: of each norm, [channels]."""
    shares = [float(np.mean(one < NEGATIVE)) for one in gains]
    told = float(np.mean([share >= LEAST_SHARE for share in shares]))
    return told >= LEAST_NORMS, told


def tell_offset(sampler: Sampler) -> Iterator[ValueFinding]:
    """Of the root-mean-square norms, which have no bias. Raises what `Sampler.rows` raises."""
    tensors = sampler.view.tensors
    names = [
        name
        for name, tensor in tensors.items()
        if name.endswith("norm.weight")
        and len(tensor.shape) == 1
        and tensor.shape[0] > 1
        and name.removesuffix("weight") + "bias" not in tensors
        and sampler.readable(name)
    ]
    chosen = [names[i] for i in evenly(len(names), _MOST)]
    if len(chosen) < _FEWEST:
        return
    told, share = less_one([sampler.vector(name) for name in chosen])
    if told:
        says = (
            f"the gains of norms are stored less one: {share:.0%} of {len(chosen)} norms have negative ones"
        )
        yield ValueFinding(QUESTION, "told", "less-one", says, chosen[0], share, share - LEAST_NORMS)
