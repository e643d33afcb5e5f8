"""Overhead is what is neither the engine's nor the reference's own work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.verify.handmade import greedy_run, random_logprobs, references
from weightsmith.verify.engine.engine_job import EngineSeconds
from weightsmith.verify.measure.cost import overhead

if TYPE_CHECKING:
    from pathlib import Path


def test_what_the_stages_do_not_explain_is_overhead(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    seconds = EngineSeconds(importing=5.0, loading=20.0, measuring=2.0, after_load=8.0, whole=40.0)
    run = replace(run, seconds=seconds)  # 32 s of start, and 4 passes of a second each
    replayed = replace(references(), seconds={"load float32": 3.0, "reference float32": 6.0, "whole": 12.0})
    found = overhead(50.0, run, replayed)
    assert found.seconds == pytest.approx(50 - 32 - 4 - 2 - 9)
    assert found.share == pytest.approx(3 / 50)
    assert overhead(50.0, run, None).seconds == pytest.approx(50 - 32 - 4 - 2)


def test_a_second_engine_is_engine_time(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    second = replace(run.passes["batch"], seconds=1.0, engine_seconds=30.0)
    both = replace(run, passes={**run.passes, "eager": second})
    assert overhead(60.0, both, None).seconds == pytest.approx(overhead(30.0, run, None).seconds)
