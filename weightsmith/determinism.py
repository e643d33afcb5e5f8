"""The environment variables that make greedy decoding on Ascend NPUs give the same answers twice.

Names and values are those of Huawei's determinism guide (field-notes 8): without them greedy completions differ between
runs by design.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable, the value that makes results repeat, and why."""

    name: str
    value: str
    why: str


VARIABLES = (
    Variable("HCCL_DETERMINISTIC", "true", "sums over several chips are taken in the same order every time"),
    Variable("LCCL_DETERMINISTIC", "1", "the same, for communication within one node"),
    Variable(
        "ATB_MATMUL_SHUFFLE_K_ENABLE", "0", "a matrix product sums its parts in the same order every time"
    ),
    Variable("ATB_LLM_LCOC_ENABLE", "0", "no communication overlaps the computation that it waits for"),
)

ENVIRONMENT = {variable.name: variable.value for variable in VARIABLES}
