"""Loads against the same loads of a former run, as ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.verify.engine.bench_job import LoadRun


@dataclass(frozen=True, slots=True)
class Ratio(Record):
    """This run over the former one; None where the former one has no such load or measured 0.

    output_per_s: above 1 is faster. ttft, tpot, latency: of the medians, below 1 is faster.
    """

    output_per_s: float | None = None
    ttft: float | None = None
    tpot: float | None = None
    latency: float | None = None


def ratios(now: Sequence[LoadRun], before: Sequence[LoadRun]) -> tuple[Ratio, ...]:
    """One for each load of `now`."""
    known = {one.load: one for one in before}
    return tuple(_ratio(one, known.get(one.load)) for one in now)


def _ratio(now: LoadRun, before: LoadRun | None) -> Ratio:
    if before is None:
        return Ratio()
    return Ratio(
        _over(now.output_per_s, before.output_per_s),
        _over(now.ttft.p50, before.ttft.p50),
        _over(now.tpot.p50, before.tpot.p50),
        _over(now.latency.p50, before.latency.p50),
    )


def _over(now: float, before: float) -> float | None:
    return now / before if before > 0 else None
