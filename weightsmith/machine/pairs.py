"""Which versions of the Ascend stack belong together, as vllm-ascend's makers pair them.

Source: the version tables and requirements of the vllm-ascend releases. `pip check` cannot tell: the torch pins of
vllm-ascend and of vLLM's own metadata contradict each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pairing:
    """One release of vllm-ascend and what it runs with. Versions are compared by as many parts as stand here;
    python and transformers: (lowest, first that is too high)."""

    vllm_ascend: str
    vllm: str
    cann: str
    torch: str
    torch_npu: str
    python: tuple[str, str]
    transformers: tuple[str, str]


PAIRINGS = (
    Pairing("0.18.0", "0.18.0", "8.5.1", "2.9.0", "2.9.0", ("3.10", "3.12"), ("4.57.4", "5")),
    Pairing("0.23.0", "0.23.0", "9.1.0", "2.10.0", "2.10.0", ("3.10", "3.13"), ("5.5.4", "5.6")),
)


def pairing_of(vllm_ascend: str) -> Pairing | None:
    """The row of an installed version: the same release, whatever follows it (rc1, post1, a commit)."""
    release = numbers(vllm_ascend)[:3]
    return next((row for row in PAIRINGS if numbers(row.vllm_ascend) == release), None)


def numbers(version: str) -> tuple[int, ...]:
    """(2, 10, 0) of `2.10.0.post4+cpu`: the leading numbers of a version."""
    found = re.match(r"v?([0-9]+(?:\.[0-9]+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def same(found: str, expected: str) -> bool:
    """Whether `found` is `expected` or a build of it: 2.10.0.post4 and 2.10.0+cpu are 2.10.0."""
    wanted = numbers(expected)
    return bool(wanted) and numbers(found)[: len(wanted)] == wanted


def within(found: str, limits: tuple[str, str]) -> bool:
    """Whether `found` is at least the first version and below the second."""
    lowest, too_high = limits
    return numbers(lowest) <= numbers(found) < numbers(too_high)
