"""What a verification costs beyond what it verifies with: the share of a run that is neither engine nor reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.reference.replay import References


@dataclass(frozen=True, slots=True)
class Overhead:
    """seconds: that neither engine nor reference account for. share: of the whole run, 0 to 1."""

    seconds: float
    share: float


def overhead(whole: float, run: EngineRun, references: References | None) -> Overhead:
    """What of the run's `whole` seconds is overhead.

    What is not overhead: the engine from its process's start to its loaded model, its generation, and the reference's
    loading and forward passes. What is: reading and hashing files, starting the reference's process and importing
    into it, turning log-probabilities into files, comparing, the bootstrap.
    """
    start = run.seconds.whole - run.seconds.after_load
    own = [one for one in run.passes.values() if not one.engine_seconds]
    generation = sum(one.seconds for one in own) + run.seconds.measuring
    second_engine = sum(one.engine_seconds for one in run.passes.values())
    replays = {} if references is None else references.seconds
    forward = sum(seconds for stage, seconds in replays.items() if stage != "whole")
    beyond = max(0.0, whole - start - generation - second_engine - forward)
    return Overhead(beyond, beyond / whole)
