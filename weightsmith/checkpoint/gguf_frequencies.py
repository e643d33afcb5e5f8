"""Llama 3.1's scaling of its rotation, from the divisors of the frequencies that llama.cpp keeps of it in a GGUF file.

Of a frequency with w tokens a turn (transformers, modeling_rope_utils.py, `_compute_llama3_parameters`; llama.cpp,
convert_hf_to_gguf.py, `generate_extra_tensors`), with the factor F and the context C before scaling:

    share = (C / w - low) / (high - low), not below 0 nor above 1,    1 / divisor = (1 - share) / F + share

Only C / (high - low) and low / (high - low) matter. So low is taken to be 1, as Llama has it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.json_value import Json

TENSOR = "rope_freqs.weight"
# More pairs of channels than any head has.
MOST = 4096
# What rounding to float32 may be off.
_EXACT = 1e-5
# The number of turns in the context from which on a frequency is divided by less than the whole factor.
_LOW = 1.0


def scaling_of(divisors: Sequence[float], theta: float) -> dict[str, Json] | None:
    """The config's `rope_scaling`; empty where nothing is divided, None where no scaling of this kind divides so.

    divisors: one for each pair of channels. theta: the base of the frequencies.
    """
    factor = float(f"{max(divisors):.6g}")
    if not (1.0 <= factor < math.inf and min(divisors) > 0):  # NaN is neither
        return None
    if all(abs(one - 1.0) <= _EXACT for one in divisors):
        return {}
    turns = [_turns(n, len(divisors), theta) for n in range(len(divisors))]
    between = [
        (per_token, (1 / one - 1 / factor) / (1 - 1 / factor))
        for per_token, one in zip(turns, divisors, strict=True)
        if 1 + _EXACT < one < factor * (1 - _EXACT)
    ]
    if len(between) < 2 or between[0][0] <= between[-1][0]:  # the base may be so near 1 that all turn alike
        return None
    (first, share), (last, other) = between[0], between[-1]
    slope = (share - other) / (first - last)
    behind = slope * first - share  # low / (high - low)
    if not (slope > 0 and behind > 0):
        return None
    high, context = round(_LOW + 1 / behind, 3), round(slope / behind)
    if high <= _LOW:
        return None
    same = zip(divisors, _divisors(factor, high, context, turns), strict=True)
    if not all(abs(one - made) <= _EXACT * made for one, made in same):
        return None
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": _LOW,
        "high_freq_factor": high,
        "original_max_position_embeddings": context,
    }


def _turns(pair: int, pairs: int, theta: float) -> float:
    """Of a pair of channels, a token."""
    return float(theta ** (-pair / pairs) / (2 * math.pi))


def _divisors(factor: float, high: float, context: int, turns: Sequence[float]) -> Iterator[float]:
    """What a scaling divides each frequency by."""
    for per_token in turns:
        share = min(max((context * per_token - _LOW) / (high - _LOW), 0.0), 1.0)
        yield 1 / ((1 - share) / factor + share)
