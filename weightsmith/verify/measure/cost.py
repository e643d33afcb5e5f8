"""What a verification costs beyond what it verifies with: the share of a run that is neither engine nor reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.reference.replay import References


def overhead(whole: float, run: EngineRun, twin: References | None) -> dict[str, float]:
    """`overhead` in seconds, and `overhead_share` of the run's `whole` seconds, 0 to 1.

    What is not overhead: the engine from its process's start to its loaded model, its generation, and the reference's
    loading and forward passes. What is: reading and hashing files, starting the reference's process and importing
    into it, turning log-probabilities into files, comparing, the bootstrap.
    """
    start = run.seconds["whole"] - run.seconds["after_load"]
    own = [r for r in run.runs.values() if not r.engine_seconds]
    generation = sum(r.seconds for r in own) + run.seconds["measuring"]
    second_engine = sum(r.engine_seconds for r in run.runs.values())
    forward = 0.0 if twin is None else sum(s for stage, s in twin.seconds.items() if stage != "whole")
    beyond = max(0.0, whole - start - generation - second_engine - forward)
    return {"overhead": beyond, "overhead_share": beyond / whole}
